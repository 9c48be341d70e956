"""Recordings that others made, as live streams: what is in a file goes in, and comes out as the same counts.

`blackrock_nev` and `mc_maze_trials` are replayed through a real engine, and what it publishes is compared with the file
as it is read here, with nothing of `cortexwire.sessions`. `starling` is one channel of voltage beside the times that a
person sorted: its spikes go up, so its thresholds are positive. Threshold and dead time are fixed on its first sweep;
the others are scored, each crossing matched with at most one sorted spike and no further than `TOLERANCE_MS` from it.
"""

import csv
import ctypes
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cortexwire.bench.evidence import progress
from cortexwire.bench.evidence.sources import NO_CEILING_UV, data_folder, recording
from cortexwire.bench.live import lossless_config, replay_live, short_folder
from cortexwire.pipeline.bin_stage import BinStage, Closed
from cortexwire.sessions import RecordedSession, Session, open_session, session_packets
from cortexwire.sessions.signals import EventSignal
from cortexwire.signal.binning import Bin
from cortexwire.signal.settings import FilterSettings, FrontEndSettings, ThresholdSettings
from cortexwire.training.features import designed, stream_of
from cortexwire.training.seeded import seeded_bundle
from cortexwire.wire import OutKind

NEV_EVENTS: Final = 14_210
NEV_CHANNELS: Final = 96
MAZE_UNITS: Final = 182
PACKET_SAMPLES: Final = 30
BIN_MS: Final = 20.0
SWEEPS: Final = {1: 4, 2: 5, 3: 3, 4: 1, 5: 2}
"""Line of `A8.txt`, from 1, that holds the sorted spikes of each sweep."""
OFFSET_MS: Final = 1999.85
"""What is added to sorted times to make them times of the sweep."""
TOLERANCE_MS: Final = 1.0
MULTIPLIER: Final = 10.0
"""Times MAD / 0.6745, as the recordings' README has it."""
FILTER: Final = FilterSettings(kind="highpass", order=2, low_hz=100.0)
"""As good as none: below 100 Hz the recording's own spectrum falls off, so its amplifier has filtered it already, and
the default filter takes height from the spikes."""
DEAD_MS: Final = (0.5, 1.0, 1.5, 2.0, 2.5)
RECALL: Final = 0.99
PRECISION: Final = 0.95
CALIBRATION_S: Final = 10.0
_EPOCH: Final = 7
_SEED: Final = 7

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def spike_streams() -> dict[str, Any]:
    """Must-show 5, first part: event files replayed live, counts out as in the file.

    Raises:
        RunError: There are no recordings, or a live run failed.
        SessionError: A recording cannot be read.
    """
    nev = data_folder() / "blackrock_nev" / "example_1.nev"
    times, electrodes = _nev_spikes(nev)
    found = {"blackrock_nev": _through_engine(open_session(nev), times, electrodes)}
    for name in ("mc_maze_748", "mc_maze_1356"):
        session = recording(name)
        ones = _ones(data_folder() / "mc_maze_trials" / f"trial_{name.rpartition('_')[2]}_data.csv")
        rows, columns = np.nonzero(ones)
        found[name] = _through_engine(session, rows, columns, n_channels=ones.shape[1])
    nev_found = found["blackrock_nev"]
    whole = (nev_found["events_in"], nev_found["channels_with_events"]) == (NEV_EVENTS, NEV_CHANNELS)
    units = all(found[name]["channels"] == MAZE_UNITS for name in ("mc_maze_748", "mc_maze_1356"))
    return {
        "passed": whole and units and all(result["passed"] for result in found.values()),
        "expected": {
            "blackrock_nev": f"{NEV_EVENTS} events on {NEV_CHANNELS} channels",
            "mc_maze_trials": f"{MAZE_UNITS} units at 1 kHz",
            "counts": "of every channel in every bin as in the file, read here without cortexwire",
        },
        "recordings": found,
    }


def sorted_spikes() -> dict[str, Any]:
    """Must-show 5, second part: positive thresholds find the spikes that a person sorted.

    Raises:
        RunError: There are no recordings.
        SessionError: A recording cannot be read.
    """
    folder = data_folder() / "starling"
    truth = _sorted_times(folder)
    first = open_session(folder / "st11_1_2_A8_1.wav")
    best = _fixed(first, truth[1])
    progress(f"fixed on sweep 1: {best}")
    chain = _chain(best["dead_ms"], best["threshold"])
    sweeps = {}
    for sweep in (2, 3, 4, 5):
        session = open_session(folder / f"st11_1_2_A8_{sweep}.wav")
        sweeps[sweep] = _scored(_crossings(session, chain), truth[sweep], session)
    spikes, hits = (sum(sweep[key] for sweep in sweeps.values()) for key in ("spikes", "hits"))
    crossings = sum(sweep["crossings"] for sweep in sweeps.values())
    recall, precision = hits / spikes, hits / crossings
    return {
        "passed": recall >= RECALL and precision >= PRECISION,
        "expected": {"recall": f"at least {RECALL}", "precision": f"at least {PRECISION}", "within_ms": TOLERANCE_MS},
        "recall": round(recall, 4),
        "precision": round(precision, 4),
        "spikes": spikes,
        "crossings": crossings,
        "fixed_on_sweep_1": best,
        "sweeps": sweeps,
    }


def _through_engine(
    session: Session, times: NDArray[np.intp], channels: NDArray[np.intp], n_channels: int | None = None
) -> dict[str, Any]:
    """Replay a recording of events; compare the counts that come out with events of these samples and channels.

    `channels` are numbers of the file, of which those that occur make the session's, in order, unless `n_channels`.
    """
    known = np.unique(channels) if n_channels is None else np.arange(n_channels)
    chain = FrontEndSettings(bin_ms=BIN_MS)
    with short_folder() as folder:
        bundle = seeded_bundle(
            folder / "bundle",
            seed=_SEED,
            stream=stream_of(session, chain.bin_ms),
            front_end=chain.model_dump(mode="json"),
        )
        run = replay_live(lossless_config(bundle.path, folder), _to_whole_bins(session), PACKET_SAMPLES, epoch=_EPOCH)
    outputs = [output for output in run.outputs if output.kind is OutKind.DECODED]
    out = np.stack([output.tensors["counts"] for output in outputs]).astype(np.int64)
    ends = np.array([output.end_sample for output in outputs])
    expected = np.zeros_like(out)
    bins = np.searchsorted(ends, times, "right")
    whole = bool(times.max() < ends[-1])
    np.add.at(expected, (bins[times < ends[-1]], np.searchsorted(known, channels[times < ends[-1]])), 1)
    read = session.events(0, session.n_samples)
    result = {
        "passed": whole and bool((out == expected).all()) and len(read) == len(times) == out.sum(),
        "channels": session.n_channels,
        "channels_with_events": len(np.unique(channels)),
        "events_in_file": len(times),
        "events_in": len(read),
        "events_out": int(out.sum()),
        "bins": len(outputs),
        "channel_bins_that_differ": int((out != expected).sum()),
        "rate_hz": session.rate.hz,
    }
    progress(f"{session.name}: {result}")
    return result


def _to_whole_bins(session: Session) -> Session:
    """The same events with silence up to the end of the last bin, which is not decoded before it is over."""
    assert isinstance(session, RecordedSession)
    bin_samples = _bin_samples(session)
    n_samples = -(-session.n_samples // bin_samples) * bin_samples
    return replace(session, signal=EventSignal(session.events(0, session.n_samples), session.n_channels, n_samples))


def _nev_spikes(path: Path) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Ticks of 30 kHz and electrodes of the spikes of a NEV 2.1 file, by the layout that Blackrock publishes."""
    raw = path.read_bytes()
    start, size = np.frombuffer(raw, "<u4", 2, 12).tolist()
    packet = np.dtype({"names": ["time", "id"], "formats": ["<u4", "<u2"], "offsets": [0, 4], "itemsize": size})
    packets = np.frombuffer(raw, packet, (len(raw) - start) // size, start)
    spikes = packets[packets["id"] != 0]
    return spikes["time"].astype(np.intp), spikes["id"].astype(np.intp)


def _ones(path: Path) -> NDArray[np.intp]:
    """The columns of units of a table of text, `(n_rows, n_units)`."""
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    units = [column for column, name in enumerate(header) if name.startswith("unit_")]
    return np.array([[float(row[column]) for column in units] for row in rows]).astype(np.intp)


def _sorted_times(folder: Path) -> dict[int, Floats]:
    """Sorted spikes of each sweep, in milliseconds from its first sample."""
    lines = (folder / "A8.txt").read_text().splitlines()
    return {sweep: np.array(lines[line - 1].split(), np.float64) + OFFSET_MS for sweep, line in SWEEPS.items()}


def _fixed(session: Session, truth: Floats) -> dict[str, Any]:
    """A multiple of the noise of one sweep, and the shortest dead time with which it finds no spike twice."""
    threshold = _calibrated(session, _chain(DEAD_MS[0], None))
    tried = {}
    for dead_ms in DEAD_MS:
        tried[dead_ms] = _scored(_crossings(session, _chain(dead_ms, threshold)), truth, session)
    fewest = min(score["crossings"] for score in tried.values())
    dead_ms = next(dead_ms for dead_ms, score in tried.items() if score["crossings"] == fewest)
    return {"threshold": threshold, "dead_ms": dead_ms, **tried[dead_ms]}


def _chain(dead_ms: float, threshold: float | None) -> FrontEndSettings:
    """A signal chain for positive spikes; without a threshold it finds its own."""
    return FrontEndSettings(
        bin_ms=BIN_MS,
        filter=FILTER,
        threshold=ThresholdSettings(
            mode="mad",
            multiplier=MULTIPLIER,
            values_uv=None if threshold is None else (threshold,),
            refractory_ms=dead_ms,
            calibration_s=CALIBRATION_S,
            noise_ceiling_uv=NO_CEILING_UV,
        ),
    )


def _calibrated(session: Session, chain: FrontEndSettings) -> float:
    stage = _stage(session, chain)
    for frame in session_packets(session, _bin_samples(session), _EPOCH):
        stage.packet(frame)
    assert stage.thresholds_uv is not None
    return float(stage.thresholds_uv[0])


def _bin_samples(session: Session) -> int:
    return round(session.rate.hz * BIN_MS / 1000)


def _stage(session: Session, chain: FrontEndSettings) -> BinStage:
    chain = designed(chain, session)
    return BinStage(stream_of(session, chain.bin_ms), chain)


class _Heard:
    """Hears of crossings, as an incremental decoder does."""

    def listen(self, n_kept: int, crossings: int, most: int) -> None:
        """As `CrossingListener.listen`."""
        memory = (ctypes.c_int32 * (most * 2)).from_address(crossings)
        self._samples: NDArray[np.int32] = np.ctypeslib.as_array(memory)[::2]

    def follow(self) -> None:
        """As `CrossingListener.follow`."""

    def of(self, closed: Bin) -> Ints:
        """Samples of the crossings of a bin of one channel that was closed last."""
        return closed.start + self._samples[: int(closed.counts.sum())].astype(np.int64)


def _crossings(session: Session, chain: FrontEndSettings) -> Floats:
    """Milliseconds of the crossings of a session of one channel, as the front end counts them."""
    stage, heard = _stage(session, chain), _Heard()
    stage.listen(heard)
    found = [np.zeros(0, np.int64)]
    # Packets end where bins end, so that nothing follows a bin before it was looked at.
    for frame in session_packets(session, _bin_samples(session), _EPOCH):
        found += [heard.of(event.bin) for event in stage.packet(frame) if isinstance(event, Closed)]
    return np.concatenate(found) * 1000 / session.rate.hz


def _scored(crossings: Floats, truth: Floats, session: Session) -> dict[str, Any]:
    length = session.n_samples * 1000 / session.rate.hz
    spikes = truth[(truth >= 0) & (truth < length)]
    hits = len(matched(crossings.tolist(), spikes.tolist()))
    return {
        "spikes": len(spikes),
        "crossings": len(crossings),
        "hits": hits,
        "recall": round(hits / len(spikes), 4),
        "precision": round(hits / max(len(crossings), 1), 4),
    }


def matched(
    crossings: Iterable[float], spikes: Iterable[float], within: float = TOLERANCE_MS
) -> list[tuple[float, float]]:
    """Pair crossings with spikes, both ascending, one to one and no further apart than `within`.

    Taking the earliest that still fits, again and again, makes as many pairs as there can be.
    """
    pairs, waiting = [], list(spikes)[::-1]
    for crossing in crossings:
        while waiting and waiting[-1] < crossing - within:
            waiting.pop()
        if waiting and waiting[-1] <= crossing + within:
            pairs.append((crossing, waiting.pop()))
    return pairs
