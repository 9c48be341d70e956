"""Must-show 4 of the service's face: engine and API are killed in mid-stream, again and again.

Three things are asked of every output. That of each engine's life, by the tap, decodes offline to the same bytes from
the same packets, ticks and commands. That of all lives together equals one undisturbed offline decode of the whole
epoch, bin by bin, unless it is marked. And that a consumer, which looks each millisecond, applies none of them for
longer than its `valid_for_ms`. The rig is the simulator with the reference decoder; the engine is armed, and armed
again after each kill, so that there is always something that could outlive it.
"""

import tempfile
from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Any, Final

import numpy as np

from cortexwire.bench.evidence import progress
from cortexwire.bench.kill_roles import contents
from cortexwire.bench.kills import Heard, Killed, KilledService, config_of, decoded_again, first_bin, killed_service
from cortexwire.clients.simulator import SimulatedSession, SimulatorSettings
from cortexwire.decoders import load_bundle
from cortexwire.pipeline.pipeline import front_end_of
from cortexwire.pipeline.settings import SafetySettings
from cortexwire.runtime.assembly import assemble
from cortexwire.runtime.offline import decode_frames
from cortexwire.runtime.shipped import reference_bundle
from cortexwire.sessions.packets import session_packets
from cortexwire.wire import OutFlag, OutKind, Start

KILLS: Final = 20
CHANNELS: Final = 96
SEED: Final = 11
EPOCH: Final = 0xC0FFEE
CALIBRATION_S: Final = 3.0
LONGEST_MS: Final = 2000.0
"""A killed engine is decoding again within this."""
_PACKET: Final = 30
_PAUSE_S: Final = (2.0, 3.0)
"""After each kill; longer than a standby takes to load, so that one is there for the next."""


def kill_runs(kills: int = KILLS, cold: int = 5, pause_s: tuple[float, float] = _PAUSE_S) -> dict[str, Any]:
    """Kill the engine and the API `kills` times each, and the engine `cold` times without a standby."""
    warm = _run("standby", kills, kills, pause_s, ())
    alone = _run("no standby", cold, 0, pause_s, ("--no-standby",))
    return {
        "passed": warm["passed"] and alone["passed"],
        "expected": f"a killed engine is decoding again within {LONGEST_MS:g} ms; every output equals the offline "
        "decode of its life to the byte, and of its whole epoch in velocity and counts unless it is marked; no command "
        "is in force past its validity; a killed API is back, and disturbs no bin",
        "engine_kills": warm["engine_kills"] + alone["engine_kills"],
        "api_kills": warm["api_kills"],
        "recovery_ms": warm["recovery_ms"],
        "recovery_without_standby_ms": alone["recovery_ms"],
        "unmarked_again_ms": warm["unmarked_again_ms"],
        "api_back_ms": warm["api_back_ms"],
        "neutral_after_kill_ms": warm["neutral_after_kill_ms"],
        "outlived": warm["outlived"] + alone["outlived"],
        "problems": warm["problems"] + alone["problems"],
        "runs": {"standby": warm, "no standby": alone},
    }


def _run(name: str, engine: int, api: int, pause_s: tuple[float, float], more: Sequence[str]) -> dict[str, Any]:
    rig = ["--channels", str(CHANNELS), "--seed", str(SEED), "--epoch", str(EPOCH), "--packet-samples", str(_PACKET),
           "--queue-ms", "5000"]  # fmt: skip
    serve = [
        "--bundle", "reference", "--armed", "--set", "supervisor.rearm=true", "--set", "supervisor.settled_s=1",
        "--set", f"front_end.threshold.calibration_s={CALIBRATION_S}", "--set", "tap.megabytes=256",
        "--set", "ingest.high_water_ms=5000", *(["--api"] if api else []), *more,
    ]  # fmt: skip
    with killed_service(rig, serve) as service, tempfile.TemporaryDirectory() as scratch:
        for number in range(engine):
            service.kill_engine(pause_s)
            progress(f"{name}: engine killed {number + 1} of {engine}, back in {service.kills[-1].back_ms:.0f} ms")
        for number in range(api):
            service.kill_api(pause_s)
            progress(f"{name}: API killed {number + 1} of {api}, back in {service.kills[-1].back_ms:.0f} ms")
        service.decodes()
        heard, obeyed, summary = service.end()
        progress(f"{name}: {len(heard)} outputs heard; decoding {len(service.tap.lives)} lives again")
        problems = [] if summary["code"] == 0 else [f"the service ended with exit code {summary['code']}"]
        expected = {"engine": engine} | ({"api": api} if api else {})
        if summary.get("restarts") != expected:
            problems.append(f"expected restarts {expected}, got {summary.get('restarts')}")
        lives = _judge_lives(service, heard, Path(scratch))
        whole = _judge_epoch(service, heard, Path(scratch))
    problems += lives.pop("problems") + whole.pop("problems")
    told = _judge_obedience(obeyed, service.kills, heard)
    found = _recovery(service.kills, heard)
    if found["recovery_ms"] and found["recovery_ms"]["max"] > LONGEST_MS:
        problems.append(f"an engine took {found['recovery_ms']['max']:g} ms to decode again")
    problems += told.pop("problems") + _judge_api(service.kills, heard)
    return {
        "passed": not problems,
        "engine_kills": engine,
        "api_kills": api,
        "problems": problems,
        "heard": len(heard),
        **found,
        **told,
        **lives,
        **whole,
        "kills": [kill._asdict() for kill in service.kills],
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    found = {"median": float(np.median(values)), "max": max(values), "min": min(values), "n": len(values)}
    return {name: round(value, 1) for name, value in found.items()}


def _recovery(kills: Sequence[Killed], heard: Sequence[Heard]) -> dict[str, Any]:
    """How long it took, from the kill, until a subscriber had a decoded output, an unmarked one, a command."""
    times: dict[str, list[float]] = {"decoded": [], "unmarked": [], "silent": []}
    for kill in kills:
        if kill.part != "engine":
            continue
        before = [out.published_ns for out in heard if out.published_ns <= kill.at_ns]
        after = [out for out in heard if out.published_ns > kill.at_ns]
        decoded = next((out for out in after if out.kind == OutKind.DECODED), None)
        unmarked = next((out for out in after if not out.marked), None)
        if decoded is None or unmarked is None or not before:
            times["decoded"].append(float("inf"))
            continue
        times["decoded"].append((decoded.heard_ns - kill.at_ns) / 1e6)
        times["unmarked"].append((unmarked.heard_ns - kill.at_ns) / 1e6)
        times["silent"].append((after[0].published_ns - max(before)) / 1e6)
    return {
        "recovery_ms": _spread(times["decoded"]),
        "unmarked_again_ms": _spread(times["unmarked"]),
        "silence_ms": _spread(times["silent"]),
        "api_back_ms": _spread([kill.back_ms for kill in kills if kill.part == "api"]),
    }


def _judge_lives(service: KilledService, heard: Sequence[Heard], scratch: Path) -> dict[str, Any]:
    """Every output that somebody heard is one of a life that decodes to the same bytes again."""
    problems = [] if not service.tap.lost else [f"{service.tap.lost} records of the tap were lost"]
    names: set[str] = set()
    compared = 0
    lives = service.tap.lives
    for number, life in enumerate(lives):
        again, taped, last = decoded_again(life, scratch, reference_bundle())
        names.update(again)
        compared += len(taped)
        same = next((k for k, (a, b) in enumerate(zip(again, taped, strict=False)) if a != b), None)
        if same is not None:
            problems.append(f"life {number}: output {same} of {len(taped)} is not what is decoded offline")
        # What the last packet brought about may not have been sent; no other output may be missing.
        least = len(again) - last if number + 1 < len(lives) else len(again)
        if not least <= len(taped) <= len(again):
            problems.append(f"life {number}: expected {least} to {len(again)} outputs in the tap, got {len(taped)}")
    unknown = sum(out.name not in names for out in heard)
    if unknown:
        problems.append(f"{unknown} outputs were heard that no offline decode gives")
    return {"lives": len(lives), "outputs_decoded_again": compared, "problems": problems}


def _judge_epoch(service: KilledService, heard: Sequence[Heard], scratch: Path) -> dict[str, Any]:
    """Unmarked outputs of all lives equal one undisturbed decode of the epoch, from its first sample on.

    A new engine finds out which channels are dead after `dead_after_s`, as at any start. Until then such a channel
    is part of the reference and enters the decoder with its zeros; outputs may differ by that, as long as the decoder
    remembers it. How many did is in the result.
    """
    lives = service.tap.lives
    starts = [life.start for life in lives]
    values = {repr(start.thresholds_uv) for start in starts[1:]}
    problems = [] if len(values) <= 1 else [f"expected the same thresholds in every life, got {len(values)} sets"]
    if any(start.config["armed"] is not True for start in starts):
        problems.append("expected every engine to be armed again")
    undisturbed, unsure = _undisturbed(starts[-1], max((out.bin for out in heard), default=0), scratch)
    begun = [found for life in lives if (found := first_bin(life)) is not None]
    decoded = [out for out in heard if out.kind == OutKind.DECODED]
    unmarked = [out for out in decoded if not out.marked]
    differing = [out.bin for out in unmarked if undisturbed[out.bin] != (out.counts, out.velocity)]
    late = [bin_ for bin_ in differing if bin_ - max(at for at in begun if at <= bin_) > unsure]
    if late:
        problems.append(f"{len(late)} unmarked outputs differ from the undisturbed decode, first at bin {late[0]}")
    twice = len(decoded) - len({out.bin for out in decoded})
    if twice:
        problems.append(f"{twice} bins were decoded twice")
    return {
        "decoded": len(decoded),
        "unmarked": len(unmarked),
        "unmarked_equal_to_undisturbed": len(unmarked) - len(differing),
        "differing_before_dead_channels_were_known": len(differing) - len(late),
        "problems": problems,
    }


def _undisturbed(start: Start, last_bin: int, scratch: Path) -> tuple[dict[int, tuple[str, str]], int]:
    """Counts and velocity of every bin of the epoch, from one pipeline that knows the thresholds at once.

    Gives beside them how many bins an engine takes to know, and then to have forgotten that it did not, which channels
    are dead.
    """
    bundle = load_bundle(reference_bundle())
    bin_s = bundle.manifest.stream.bin_ms / 1000
    session = SimulatedSession(SimulatorSettings(channels=CHANNELS, seed=SEED), seconds=(last_bin + 2) * bin_s)
    config = config_of(start, scratch, bundle.path)
    pipeline = assemble(config, live=False).pipeline
    packets = session_packets(session, _PACKET, EPOCH, 0, session.n_samples)
    outputs = decode_frames(pipeline, packets)
    found = {out.bin: contents(out) for out in outputs if out.kind is OutKind.DECODED}
    known = front_end_of(bundle, config.front_end).dead_after_s / bin_s
    return found, ceil(known) + 1 + bundle.manifest.memory_bins


def _judge_obedience(obeyed: dict[str, Any], kills: Sequence[Killed], heard: Sequence[Heard]) -> dict[str, Any]:
    """No command outlived its validity; and how long after each kill a consumer still moved."""
    problems = []
    outlived = obeyed["outlived_ms"]
    if outlived:
        problems.append(
            f"{len(outlived)} looks found a command in force past its validity, by up to {max(outlived)} ms"
        )
    valid_ms = SafetySettings().valid_for_ms
    neutral: list[float] = []
    changes = obeyed["changes"]
    for kill in kills:
        if kill.part != "engine":
            continue
        moving = next((moves for at, moves in reversed(changes) if at <= kill.at_ns), False)
        stopped = next((at for at, moves in changes if at > kill.at_ns and not moves), None)
        if moving and stopped is None:
            problems.append("after a kill a consumer moved on for ever")
        elif moving and stopped is not None:
            neutral.append((stopped - kill.at_ns) / 1e6)
    if not neutral:
        problems.append("expected a consumer that moved at some kill, got none")
    late = [value for value in neutral if value > valid_ms + obeyed["longest_ms"]]
    if late:
        problems.append(f"a consumer moved {max(late):.1f} ms after a kill, expected at most {valid_ms:g} and one look")
    if not any(out.flags & OutFlag.COMMAND for out in heard):
        problems.append("expected commands, got none")
    return {
        "outlived": len(outlived),
        "looks": obeyed["looks"],
        "longest_look_ms": round(obeyed["longest_ms"], 2),
        "neutral_after_kill_ms": _spread(neutral),
        "problems": problems,
    }


def _judge_api(kills: Sequence[Killed], heard: Sequence[Heard]) -> list[str]:
    """From the first kill of the API on, no bin is missing, late or marked for want of samples."""
    first = next((kill.at_ns for kill in kills if kill.part == "api"), None)
    if first is None:
        return []
    after = [out for out in heard if out.kind == OutKind.DECODED and out.published_ns > first]
    bins = [out.bin for out in after]
    problems = []
    if not bins or bins != list(range(bins[0], bins[-1] + 1)):
        problems.append("bins are missing while the API was killed")
    unobserved = sum(bool(out.flags & OutFlag.UNOBSERVED) and not out.flags & OutFlag.ARTEFACT for out in after)
    if unobserved:
        problems.append(f"{unobserved} bins are not wholly observed while the API was killed")
    return problems
