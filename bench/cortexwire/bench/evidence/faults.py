"""Must-show 5: faults of every class over a lossless socket into a real engine, and stalls in real time.

`fault_runs` sends the same streams with and without faults and compares counters with the ledger and every bin with
the undisturbed run. With a decoder without memory every bin without a mark has to be the same bytes; with one that
remembers ten bins it has to have the same counts, and the same bytes unless it says that its history is touched. A
rig with transients and rails of its own marks bins too: there the marks of every bin that no fault touches have to be
those of the undisturbed run, and the counters of such marks are left out. `stall_runs` lets nothing come for two
seconds and integrates what a subscriber steers.
"""

from collections import Counter
from pathlib import Path
from typing import Any, Final

from cortexwire.bench.evidence import progress
from cortexwire.bench.faults import FaultMix, FaultyRig, event_rig, expected_bins, judge, simulated_rig
from cortexwire.bench.faults.live import live_engine
from cortexwire.bench.faults.scenario import Plan, Scenario, fault_bundle, rules_of, scenario
from cortexwire.bench.faults.stall import StallRun, judge_stalls, run_stalls
from cortexwire.bench.live import lossless_config, short_folder
from cortexwire.clients.simulator import SimulatorSettings
from cortexwire.config import EngineConfig
from cortexwire.decoders import Bundle
from cortexwire.pipeline.counters import Counters
from cortexwire.pipeline.settings import PipelineSettings
from cortexwire.runtime.assembly import assemble
from cortexwire.runtime.offline import decode_frames
from cortexwire.wire import encode_output

SEEDS: Final = 20
CHANNELS: Final = 96
STALL_CHANNELS: Final = 32
HISTORY: Final = 10
"""Bins that a decoder with memory remembers."""
PLAN: Final = Plan(seconds=(6.0, 6.0, 3.0), mix=FaultMix())
COUNTERS: Final = tuple(Counters().as_dict())
CLOCKED: Final = frozenset({"safe_bins", "late_bins"})
"""Counters that depend on the clock where there are deadlines."""


def fault_runs(seeds: int = SEEDS, plan: Plan = PLAN, channels: int = CHANNELS) -> dict[str, Any]:
    """Faults of every class, `seeds` times, in wideband without and with artefacts of its own, and in spike events."""
    runs = []
    with short_folder() as folder:
        for seed in range(seeds):
            quiet = _wideband(channels, seed)
            runs.append(_fault_run(folder, "wideband", quiet, scenario(quiet, plan, seed), 1, seed))
            lively = simulated_rig(SimulatorSettings(channels=channels, seed=seed, artefact_every_s=2.0))
            drawn = scenario(lively, plan, seed)
            runs.append(_fault_run(folder, "wideband with artefacts", lively, drawn, HISTORY, seed))
            if seed % 4 == 0:
                events = event_rig(seed, channels, sum(plan.seconds) + 1)
                runs.append(_fault_run(folder, "events", events, scenario(events, plan, seed), HISTORY, seed))
            worst = max(run["n_differences"] for run in runs)
            progress(f"faults: seed {seed + 1} of {seeds}, {len(runs)} engines, at most {worst} differences in a run")
    injected: Counter[str] = Counter()
    for run in runs:
        injected.update(run["injected"])
    return {
        "passed": all(run["passed"] for run in runs),
        "expected": "every counter equals the ledger; no bin is marked or unmarked that should not be; every unmarked "
        "bin equals the undisturbed run (counts always, all bytes unless its history is touched); no engine falls",
        "seeds": seeds,
        "engines": len(runs),
        "channels": channels,
        "messages": sum(run["messages"] for run in runs),
        "bins": sum(run["bins"] for run in runs),
        "marked": sum(run["marked"] for run in runs),
        "unmarked": sum(run["unmarked"] for run in runs),
        "identical": sum(run["identical"] for run in runs),
        "differences": sum(run["n_differences"] for run in runs),
        "injected": dict(sorted(injected.items())),
        "runs": runs,
    }


def _wideband(channels: int, seed: int) -> FaultyRig:
    """A rig whose own artefacts and rails are off, because they mark bins too; a dead channel and noise stay on."""
    return simulated_rig(SimulatorSettings(channels=channels, seed=seed, artefacts=False, railing=False))


def _bundle(folder: Path, kind: str, rig: FaultyRig, history: int) -> Bundle:
    path = folder / f"{kind.partition(' ')[0]}-{history}"
    return fault_bundle(path, rig, "events" if kind == "events" else "wideband", history, replace=True)


def _fault_run(folder: Path, kind: str, rig: FaultyRig, drawn: Scenario, history: int, seed: int) -> dict[str, Any]:
    bundle = _bundle(folder, kind, rig, history)
    config = lossless_config(bundle.path, folder, armed=True)
    rules = rules_of(bundle)
    injection = drawn.injection
    with live_engine(config, rig.rate, rig.n_channels) as engine:
        engine.send(injection.frames)
        outputs = tuple(engine.until_end(drawn.streams[-1].epoch))
        summary = engine.stop()
    counted = summary["counters"]
    ledger = injection.counters(rules)
    ledger.update(engine.probed())
    ledger["frames"] = len(injection.frames) + engine.probes
    ledger["outputs"] = len(outputs) + engine.probes
    verdict = judge(
        outputs,
        _undisturbed(config, drawn),
        injection.expected(rules),
        {name: counted[name] for name in (*COUNTERS, "frames", "outputs")},
        ledger,
        artefacts=kind.endswith("artefacts"),
    )
    return {
        "seed": seed,
        "kind": kind,
        "history": history,
        "messages": len(injection.frames),
        **verdict.figures(),
        "injected": dict(injection.ledger.injected),
        "ledger": {name: {"expected": ledger.get(name, 0), "got": counted[name]} for name in COUNTERS},
        "engine_s": round(summary["wall_s"], 2),
    }


def _undisturbed(config: EngineConfig, drawn: Scenario) -> list[bytes]:
    """The streams without their faults, through the offline pipeline; live is offline bit for bit, see `identity`."""
    pipeline = assemble(config, live=False).pipeline
    frames = (sent.frame for stream in drawn.whole for sent in stream.packets)
    return [encode_output(output) for output in decode_frames(pipeline, frames)]


def stall_runs(seeds: int = SEEDS, channels: int = STALL_CHANNELS) -> dict[str, Any]:
    """Two stalls of two seconds for each seed, in one engine with its default deadlines."""
    settings = PipelineSettings()
    stalls: list[dict[str, Any]] = []
    problems: list[str] = []
    with short_folder() as folder:
        rig = _wideband(channels, 0)
        bundle = _bundle(folder, "wideband", rig, 1)
        config = lossless_config(bundle.path, folder, armed=True, pipeline=settings)
        expected: Counter[str] = Counter()
        with live_engine(config, rig.rate, rig.n_channels) as engine:
            for seed in range(seeds):
                run = run_stalls(engine, _wideband(channels, seed), 1000 + seed, seed)
                expected.update(_untouched(run, bundle, settings))
                for stall in judge_stalls(run, settings, rules_of(bundle).bin_ms):
                    stalls.append({"seed": seed, **stall})
                    problems += [f"seed {seed}, {stall['kind']}: {problem}" for problem in stall["problems"]]
                progress(f"stall: seed {seed + 1} of {seeds}, {stalls[-1]['of_bound']:.3f} of the bound")
            counted = engine.stop()["counters"]
            expected.update(engine.probed())
            expected["restarts"] += seeds - 1
    for name in COUNTERS:
        if name not in CLOCKED and counted[name] != expected[name]:
            problems.append(f"counter {name}: expected {expected[name]}, got {counted[name]}")
    return {
        "passed": not problems and len(stalls) == 2 * seeds,
        "expected": "displacement while nothing comes is at most |v| (bin + deadline + hold + decay / 2), "
        "v the last good command, and what messages and looks came late at full speed; commands hold, decay and end "
        "neutral; behind the stall no decoded command is older than deadline and bin; no packet is lost",
        "stalls": len(stalls),
        "within_bound_without_allowance": sum(stall["of_bound"] <= 1 for stall in stalls),
        "bound_ms_at_full_speed": stalls[0]["bound_ms_at_full_speed"],
        "largest_share_of_bound": max(stall["of_bound"] for stall in stalls),
        "smallest_share_of_bound": min(stall["of_bound"] for stall in stalls),
        "largest_displacement_mm": max(stall["displacement_mm"] for stall in stalls),
        "largest_jitter_ms": max(stall["jitter_ms"] for stall in stalls),
        "latest_neutral_ms": max(stall["neutral_after_ms"] for stall in stalls),
        "problems": problems,
        "runs": stalls,
    }


def _untouched(run: StallRun, bundle: Bundle, settings: PipelineSettings) -> Counter[str]:
    """What a stream with stalls and no other fault adds to the counters."""
    packets = run.stream.packets
    ranges = [(sent.start, sent.stop) for sent in packets if sent.signal]
    return expected_bins(ranges, rules_of(bundle, settings.intake)).counters + Counter(accepted=len(packets))
