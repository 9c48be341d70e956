"""Finer output on a real recording: what it scores, that it changes nothing at the ends of bins, and what it costs.

`contdata95` as 20 ms events (its counts of 100 ms, spread at random, so this says little of decoding). Decoders are
fitted to the first 80 % of the trials and decode the whole of it through the pipeline, an output every hop:

* a Wiener filter and an echo-state network, fitted once without hops, whose states take turns. At the ends of bins
  every decoded message has to be, byte for byte, the one without hops, its number and the bundle's hash apart;
* echo-state networks that are trained and stepped at the hop. Their leak has the same time constant at every hop.

Every output that ends in the held-out part is scored against the kinematics at its own last sample. Cost is taken
apart from that, at the pace of the recording in packets of 1 ms: what the pipeline computes for one output, from
closed bin to velocity (the step), and its share of a core with everything that it does. Live equals offline for the
shortest hop of each kind.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from cortexwire.bench.evidence import progress
from cortexwire.bench.evidence.sources import recording
from cortexwire.bench.live import decode_offline, lossless_config, replay_live, short_folder, untimed
from cortexwire.decoders import Bundle, OnnxDecoder
from cortexwire.pipeline.pipeline import Pipeline
from cortexwire.pipeline.settings import DeadlineSettings, PipelineSettings
from cortexwire.runtime.offline import decode_frames
from cortexwire.sessions import Session, session_packets
from cortexwire.signal.settings import FrontEndSettings
from cortexwire.training.features import extract_features
from cortexwire.training.fitting import Trained, train_session
from cortexwire.training.hops import interleaved_bundle
from cortexwire.training.metrics import r2
from cortexwire.wire import OutKind, Output, encode_output, strip_times

BIN_MS: Final = 20.0
HOPS_MS: Final = (20.0, 10.0, 5.0)
APART: Final = 0.02
"""How far apart scores of the hops of one decoder may be, on each axis."""
LEAK: Final = 0.15
"""Share of a reservoir's unit that is renewed in a bin."""
ESN: Final[dict[str, Any]] = {"units": 500, "input_scalings": [0.3]}
WIENER: Final[dict[str, Any]] = {"history": 20, "lambdas": [0.1, 1.0, 10.0]}
PACKET_SAMPLES: Final = 600
PACED_SAMPLES: Final = 30
PACED_S: Final = 10.0
COMPARED_S: Final = 60.0
_WARM_S: Final = 1.0
"""What a paced run begins with and does not measure."""
_EPOCH: Final = 6


@dataclass(frozen=True, eq=False)
class Way:
    """One decoder with one hop.

    Attributes:
        hop_ms: Time from one output to the next.
        bundle: The decoder.
        of: Name of what is compared over hops.
    """

    hop_ms: float
    bundle: Bundle
    of: str

    @property
    def parts(self) -> int:
        """Hops in a bin."""
        return round(BIN_MS / self.hop_ms)


def hop_run(
    *,
    seconds: float | None = None,
    hops_ms: Sequence[float] = HOPS_MS,
    wiener: Mapping[str, Any] = WIENER,
    esn: Mapping[str, Any] = ESN,
    paced_s: float = PACED_S,
    compared_s: float = COMPARED_S,
) -> dict[str, Any]:
    """Must-show 10: hops of 20, 10 and 5 ms.

    Args:
        seconds: How much of the recording to use, from its start; all of it by default.
        hops_ms: Hops, the bin first.
        wiener: Settings of the Wiener filter.
        esn: Settings of the echo-state network, its leak apart.
        paced_s: How much of the stream is decoded at its own pace, for each decoder and hop.
        compared_s: How much of it is decoded live.

    Raises:
        RunError: There are no recordings, or a live run failed.
    """
    session = recording("contdata95")
    stop = session.n_samples if seconds is None else round(seconds * session.rate.hz)
    with short_folder() as folder:
        ways, held_out = _ways(session, stop, hops_ms, wiener, esn, folder)
        found: dict[str, dict[str, Any]] = {}
        plain: dict[str, list[bytes]] = {}
        for way in ways:
            outputs = _decode(session, way.bundle, stop)
            entry = _scored(session, outputs, held_out)
            at_bins = _at_bins(outputs, way.parts)
            if way.parts == 1:
                plain[way.of] = at_bins
            if "turn" in way.of:
                entry["bins_compared"] = len(at_bins)
                entry["differing_at_bins"] = _differing(at_bins, plain[way.of])
            entry["cost"] = _paced(session, way, paced_s)
            found.setdefault(way.of, {})[f"{way.hop_ms:g} ms"] = entry
            progress(f"{way.of}, {way.hop_ms:g} ms: {entry}")
        finest = [way for way in ways if way.hop_ms == min(hops_ms)]
        live = {way.of: _live(session, way.bundle, folder, compared_s) for way in finest}
    spread = {of: _spread(entries) for of, entries in found.items()}
    same = all(entry.get("differing_at_bins", 0) == 0 for entries in found.values() for entry in entries.values())
    passed = (
        same and all(apart <= APART for apart in spread.values()) and all(not n["differing"] for n in live.values())
    )
    return {
        "passed": bool(passed),
        "expected": {
            "r2": f"over the hops of one decoder within {APART} on each axis",
            "differing_at_bins": "0: decoded messages at the ends of bins are those without hops, byte for byte",
            "live": "every message the same bytes live and offline",
        },
        "note": "counts of 100 ms bins spread at random inside them; cost at the recording's pace, packets of 1 ms",
        "recording": {"name": session.name, "seconds": round(stop / session.rate.hz, 1), "bin_ms": BIN_MS},
        "largest_r2_apart": max(spread.values()),
        "same_at_bins": same,
        "r2_apart": spread,
        "ways": found,
        "live": live,
    }


def _ways(
    session: Session,
    stop: int,
    hops_ms: Sequence[float],
    wiener: Mapping[str, Any],
    esn: Mapping[str, Any],
    folder: Path,
) -> tuple[list[Way], tuple[int, int]]:
    """Fit what is to be fitted; also the ends of the first and last bin that were held out."""
    ways = []
    once: dict[str, Trained] = {}
    for hop_ms in hops_ms:
        parts = round(BIN_MS / hop_ms)
        table = extract_features(session, FrontEndSettings(bin_ms=BIN_MS), stop=stop, rows=parts)
        leak = 1 - (1 - LEAK) ** (1 / parts)
        settings = {**esn, "leaks": [leak]}
        path = folder / f"esn-{parts}"
        trained = train_session(session, path, decoder="esn", settings=settings, table=table, hop_ms=hop_ms)
        if parts == 1:
            once["esn in turn"] = trained
            once["wiener in turn"] = train_session(session, folder / "wiener", settings=dict(wiener), table=table)
        ways.append(Way(hop_ms, trained.bundle, "esn trained at the hop"))
        for of, one in once.items():
            finer = one.bundle
            if parts > 1:
                finer = interleaved_bundle(one.bundle, folder / f"{of.split()[0]}-turns-{parts}", hop_ms)
            ways.append(Way(hop_ms, finer, of))
        progress(f"fitted for a hop of {hop_ms:g} ms")
    first, last = once["esn in turn"].bundle.manifest.training.split["test_ends"]
    return ways, (first, last)


def _decode(session: Session, bundle: Bundle, stop: int) -> list[Output]:
    frames = session_packets(session, PACKET_SAMPLES, _EPOCH, 0, stop)
    outputs = decode_frames(_pipeline(bundle), frames)
    return [output for output in outputs if output.kind is OutKind.DECODED]


def _pipeline(bundle: Bundle, **options: Any) -> Pipeline:
    settings = PipelineSettings(deadline=DeadlineSettings(deadline_ms=None))
    return Pipeline(settings, OnnxDecoder(bundle, "cpu"), **options)


def _scored(session: Session, outputs: Sequence[Output], held_out: tuple[int, int]) -> dict[str, Any]:
    first, last = held_out
    scored = [output for output in outputs if first <= output.end_sample <= last]
    ends = np.array([output.end_sample for output in scored])
    where = [session.column_names.index(name) for name in ("vx", "vy")]
    targets = session.columns_at(ends - 1)[:, where]
    velocity = np.array([output.tensors["velocity"] for output in scored], np.float64)
    return {"r2": [round(score, 4) for score in r2(targets, velocity).tolist()], "outputs_scored": len(scored)}


def _at_bins(outputs: Iterable[Output], parts: int) -> list[bytes]:
    """The outputs at the ends of bins, numbered as without hops."""
    renamed = (
        msgspec.structs.replace(output, bin=(output.bin + 1) // parts - 1, bundle_hash=0)
        for output in outputs
        if (output.bin + 1) % parts == 0
    )
    return [strip_times(encode_output(output)) for output in renamed]


def _differing(came: Sequence[bytes], want: Sequence[bytes]) -> int:
    return sum(a != b for a, b in zip(came, want, strict=False)) + abs(len(came) - len(want))


def _spread(entries: Mapping[str, Mapping[str, Any]]) -> float:
    scores: NDArray[np.float64] = np.array([entry["r2"] for entry in entries.values()])
    return round(float(np.ptp(scores, axis=0).max()), 4)


def _paced(session: Session, way: Way, seconds: float) -> dict[str, float]:
    """Decode at the recording's pace: what an output takes, and what share of a core all of it."""
    pipeline = _pipeline(way.bundle, now_ns=time.monotonic_ns)
    pipeline.warm_up()
    stop = round((_WARM_S + seconds) * session.rate.hz)
    frames = list(session_packets(session, PACED_SAMPLES, _EPOCH, 0, stop))
    packet_ns = round(PACED_SAMPLES / session.rate.hz * 1e9)
    warm = round(_WARM_S * 1e9)
    steps: list[int] = []
    cpu_ns = outputs = 0
    began = time.monotonic_ns()
    for number, frame in enumerate(frames):
        wait = began + number * packet_ns - time.monotonic_ns()
        if wait > 0:
            time.sleep(wait / 1e9)
        before = time.thread_time_ns()
        came = pipeline.packet(frame, time.monotonic_ns())
        spent = time.thread_time_ns() - before
        if number * packet_ns < warm:
            continue
        cpu_ns += spent
        for output in came:
            if output.kind is OutKind.DECODED:
                outputs += 1
                steps.append(output.times.decoded_ns - output.times.binned_ns)
    p50, p99 = np.quantile(steps, (0.5, 0.99)).tolist()
    return {
        "step_us_p50": round(p50 / 1e3, 1),
        "step_us_p99": round(p99 / 1e3, 1),
        "cpu_us_per_output": round(cpu_ns / 1e3 / outputs, 1),
        "core_percent": round(100 * cpu_ns / (seconds * 1e9), 2),
    }


def _live(session: Session, bundle: Bundle, folder: Path, seconds: float) -> dict[str, Any]:
    config = lossless_config(bundle.path, folder)
    run = replay_live(config, session, PACKET_SAMPLES, epoch=_EPOCH, stop_s=seconds)
    offline = decode_offline(config, session, PACKET_SAMPLES, epoch=_EPOCH, stop_s=seconds)
    return {"messages": len(offline), "differing": _differing(untimed(run.frames), untimed(offline))}
