"""The live front end on real wideband, against an independent chain in float64.

The 96 stacked clips of `neuralink_n1` go over ZeroMQ through an engine at their own 19,531 Hz. What it publishes is
compared, channel by channel and bin by bin, with a chain written here on `scipy.signal.sosfilt` that shares no code
with the service. The two may disagree about one crossing only where the filtered signal comes within `CLOSE` RMS of
the threshold; every such crossing is listed.

Band power is compared in every bin of which at least half was observed. The bin in which the filter settles holds a
mean over as little as two samples, in which float32 cannot be relatively exact near a zero of the signal; it is
published as stale, its features are never used, and its error is reported by itself.

The artefact rule is put out of reach (it asks for every channel to cross within the same millisecond), and that it
marked no sample is part of the result. There are no deadlines, which would add safe messages that depend on the
clock.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy import signal

from cortexwire.bench.evidence.sources import NO_CEILING_UV, SEEDED_BUNDLE, recording
from cortexwire.bench.live import LiveRun, lossless_config, replay_live, short_folder
from cortexwire.clients.replay import Speed
from cortexwire.decoders import load_bundle
from cortexwire.pipeline.bin_stage import BinStage, Closed
from cortexwire.pipeline.pipeline import front_end_of
from cortexwire.sessions import Session, session_packets
from cortexwire.signal.calibration import Calibration, Noise, thresholds_from
from cortexwire.types import Rate
from cortexwire.wire import OutKind

REFERENCES: Final = ("none", "mean", "median")
BAND_HZ: Final = (250.0, 5000.0)
ORDER: Final = 4
BIN_MS: Final = 20
MULTIPLIER: Final = -4.5
CLOSE: Final = 1e-3
"""Distance from the threshold, in RMS, within which float32 and float64 may disagree."""
POWER_TOLERANCE: Final = 1e-4
LEAST_CROSSINGS: Final = 1000
PACKET_SAMPLES: Final = 20
RAILS: Final = (-32768, 32767)
_EPOCH: Final = 2
_LISTED: Final = 200

ReferenceMode = Literal["none", "mean", "median"]


@dataclass(frozen=True, eq=False)
class Chain:
    """What the independent chain found.

    Attributes:
        filtered: `(n_samples, n_channels)` float64.
        crossings: Sample and channel of each crossing, `(n, 2)`, whether or not it is observed.
    """

    filtered: NDArray[np.float64]
    crossings: NDArray[np.int64]

    def counts(self, edges: NDArray[np.int64], observed_from: int) -> NDArray[np.int64]:
        """Crossings in each bin, `(n_bins, n_channels)`, of those from `observed_from` on."""
        counts = np.zeros((len(edges) - 1, self.filtered.shape[1]), np.int64)
        sample, channel = self.crossings[self.crossings[:, 0] >= observed_from].T
        inside = (sample >= edges[0]) & (sample < edges[-1])
        np.add.at(counts, (np.searchsorted(edges, sample[inside], "right") - 1, channel[inside]), 1)
        return counts

    def power(self, edges: NDArray[np.int64], observed_from: int) -> NDArray[np.float64]:
        """Mean square of the observed samples of each bin, `(n_bins, n_channels)`; NaN where there are none."""
        power = np.full((len(edges) - 1, self.filtered.shape[1]), np.nan)
        for k, (start, stop) in enumerate(pairwise(edges.tolist())):
            first = max(start, observed_from)
            if first < stop:
                power[k] = np.square(self.filtered[first:stop]).mean(axis=0)
        return power


def scipy_chain(
    raw: NDArray[Any], rate: Rate, reference: ReferenceMode, thresholds: NDArray[np.float64], refractory: int
) -> Chain:
    """Reference, filter and detect in float64, with nothing of `cortexwire.signal`.

    Args:
        raw: `(n_samples, n_channels)`.
        rate: Sample rate.
        reference: What is taken away from each sample: nothing, or the mean or median of its channels that are not
            at the rails.
        thresholds: Negative thresholds, `(n_channels,)`; NaN for none.
        refractory: Samples from one crossing of a channel to the first that may be the next.
    """
    x = raw.astype(np.float64)
    if reference != "none":
        live = np.where((raw <= RAILS[0]) | (raw >= RAILS[1]), np.nan, x)
        common = np.nanmean(live, axis=1) if reference == "mean" else np.nanmedian(live, axis=1)
        x = x - common[:, None]
    sos = signal.butter(ORDER, BAND_HZ, "bandpass", fs=rate.hz, output="sos")
    start = signal.sosfilt_zi(sos)[:, :, None] * x[0]
    filtered, _ = signal.sosfilt(sos, x, axis=0, zi=start)
    beyond = filtered <= thresholds
    fresh = np.flatnonzero((beyond[1:] & ~beyond[:-1]).T.ravel())
    channel, sample = np.divmod(fresh, len(x) - 1)
    kept, last, of = [], -refractory, -1
    for c, s in zip(channel.tolist(), (sample + 1).tolist(), strict=True):
        if c != of:
            of, last = c, -refractory
        if s - last >= refractory:
            kept.append((s, c))
            last = s
    return Chain(filtered, np.array(kept, np.int64).reshape(-1, 2))


def first_pass(session: Session, front_end: Any, bundle_path: Path = SEEDED_BUNDLE) -> Noise:
    """Noise of each channel over the whole recording, from the service's own front end and calibration."""
    stream = load_bundle(bundle_path).manifest.stream
    stage = BinStage(stream, front_end)
    gathered = Calibration(front_end.threshold, front_end.artefact, session.rate)
    for frame in session_packets(session, 600, _EPOCH):
        for event in stage.packet(frame):
            if isinstance(event, Closed):
                gathered.add(event.bin)
    noise = gathered.finish(enough=True)
    assert noise is not None
    return noise


def front_end_on_recordings(
    *,
    references: Sequence[ReferenceMode] = REFERENCES,
    packet_samples: int = PACKET_SAMPLES,
    multiplier: float = MULTIPLIER,
    speed: Speed = 1.0,
) -> dict[str, Any]:
    """Must-show 2: the front end on `neuralink_n1` against scipy.

    Args:
        references: Reference modes to run.
        packet_samples: Samples in a packet.
        multiplier: Thresholds as a multiple of each channel's RMS over the whole clip.
        speed: Multiple of real time at which the clips are sent, or `fast`.

    Returns:
        `passed`, `expected`, and a result for each reference mode.

    Raises:
        RunError: There are no recordings, or a run failed.
    """
    began = time.monotonic()
    session = recording("neuralink_n1")
    results = {mode: _one_mode(session, mode, packet_samples, multiplier, speed) for mode in references}
    return {
        "passed": all(result["passed"] for result in results.values()),
        "expected": {
            "counts": f"equal in every channel-bin, save where the signal is within {CLOSE} RMS of the threshold",
            "band_power": f"within {POWER_TOLERANCE} relative in every bin of which at least half was observed",
            "crossings": f"at least {LEAST_CROSSINGS}",
            "artefact_samples": 0,
            "outputs": "every bin decoded exactly once",
        },
        "recording": {
            "name": session.name,
            "channels": session.n_channels,
            "rate_hz": session.rate.hz,
            "samples": session.n_samples,
        },
        "chain": f"scipy.signal.sosfilt of butter({ORDER}, {BAND_HZ}) in float64 from the first sample's steady state",
        "thresholds": f"{multiplier} x RMS over the whole clip, from the service's own calibration",
        "packet_samples": packet_samples,
        "times_real_time": speed,
        "modes": results,
        "seconds": round(time.monotonic() - began, 1),
    }


def _one_mode(
    session: Session, mode: ReferenceMode, packet_samples: int, multiplier: float, speed: Speed
) -> dict[str, Any]:
    changes = {
        "reference": {"mode": mode},
        "threshold": {"multiplier": multiplier, "calibration_s": 1e6, "noise_ceiling_uv": NO_CEILING_UV},
        "artefact": {"channel_share": 1.0},
    }
    front_end = front_end_of(load_bundle(SEEDED_BUNDLE), changes)
    noise = first_pass(session, front_end)
    thresholds = thresholds_from(front_end.threshold, noise)
    with short_folder() as folder:
        file = folder / "thresholds.json"
        known = [value if np.isfinite(value) else None for value in thresholds.tolist()]
        file.write_bytes(msgspec.json.encode({"thresholds_uv": known}))
        config = lossless_config(SEEDED_BUNDLE, folder, thresholds=file, front_end=changes)
        run = replay_live(config, session, packet_samples, epoch=_EPOCH, speed=speed)
    refractory = -(-session.rate.num // (1000 * session.rate.den))
    raw = session.wideband(0, session.n_samples)
    chain = scipy_chain(raw, session.rate, mode, thresholds, refractory)
    return _compare(run, chain, raw, session.rate, thresholds, noise, refractory)


def _compare(
    run: LiveRun,
    chain: Chain,
    raw: NDArray[Any],
    rate: Rate,
    thresholds: NDArray[np.float64],
    noise: Noise,
    refractory: int,
) -> dict[str, Any]:
    outputs = [output for output in run.outputs if output.kind is OutKind.DECODED]
    counts = np.stack([output.tensors["counts"] for output in outputs]).astype(np.int64)
    power = np.stack([output.tensors["band_power"] for output in outputs]).astype(np.float64)
    n_bins = len(raw) * 1000 // (rate.num * BIN_MS)
    edges = np.arange(n_bins + 1) * rate.num * BIN_MS // (1000 * rate.den)
    bins, ends = [output.bin for output in outputs], [output.end_sample for output in outputs]
    complete = bins == list(range(n_bins)) and ends == edges[1:].tolist()
    share = np.array([1 - output.observed_fraction for output in outputs])
    unobserved = np.rint(share * np.diff(edges))
    settling = int(unobserved.sum())
    is_prefix = np.array_equal(unobserved, np.clip(settling - edges[:-1], 0, np.diff(edges)))

    wanted, wanted_power = chain.counts(edges, settling), chain.power(edges, settling)
    differ = np.argwhere(counts != wanted)
    rms = noise.rms_uv.astype(np.float64)
    excused: list[dict[str, Any]] = []
    unexcused: list[dict[str, Any]] = []
    for k, c in differ.tolist():
        reach = slice(max(int(edges[k]) - refractory, 0), int(edges[k + 1]))
        distance = (chain.filtered[reach, c] - thresholds[c]) / rms[c]
        nearest = int(np.argmin(np.abs(distance)))
        entry = {
            "bin": k,
            "channel": c,
            "live": int(counts[k, c]),
            "scipy": int(wanted[k, c]),
            "sample": reach.start + nearest,
            "distance_rms": float(distance[nearest]),
        }
        (excused if abs(entry["distance_rms"]) <= CLOSE else unexcused).append(entry)
    relative = np.abs(power / wanted_power - 1)
    half = unobserved <= np.diff(edges) / 2
    power_error, stale = float(np.max(relative[half])), relative[~half & ~np.isnan(wanted_power[:, 0])]
    direct_rms = np.sqrt(np.square(chain.filtered[settling : edges[-1]]).mean(axis=0))
    crossings, artefacts = int(counts.sum()), run.counters["artefact_samples"]
    lost = run.counters["lost_packets"] + run.counters["missing_samples"]
    passed = (
        complete
        and is_prefix
        and not unexcused
        and power_error <= POWER_TOLERANCE
        and crossings >= LEAST_CROSSINGS
        and not (artefacts or lost)
    )
    return {
        "passed": bool(passed),
        "bins": len(outputs),
        "every_bin_once": complete,
        "channel_bins": counts.size,
        "crossings_live": crossings,
        "crossings_scipy": int(wanted.sum()),
        "channel_bins_that_differ": len(differ),
        "differ_close_to_threshold": excused,
        "differ_otherwise": unexcused[:_LISTED],
        "crossings_close_to_threshold": _close_crossings(chain, thresholds, rms, settling),
        "band_power_max_relative_error": power_error,
        "band_power_max_relative_error_in_stale_bins": float(np.max(stale, initial=0.0)),
        "settling_samples": settling,
        "unobserved_only_while_settling": is_prefix,
        "rms_max_relative_error": float(np.max(np.abs(rms / direct_rms - 1))),
        "rms_median": float(np.median(rms)),
        "channels_without_threshold": int(np.count_nonzero(~np.isfinite(thresholds))),
        "channel_samples_at_rails": int(np.count_nonzero((raw <= RAILS[0]) | (raw >= RAILS[1]))),
        "artefact_samples": artefacts,
        "lost_packets_or_samples": lost,
        "engine_seconds": round(run.seconds, 2),
    }


def _close_crossings(
    chain: Chain, thresholds: NDArray[np.float64], rms: NDArray[np.float64], settling: int
) -> list[dict[str, Any]]:
    """Crossings of the independent chain whose first sample beyond the threshold, or the last before, is close."""
    found = []
    for sample, channel in chain.crossings.tolist():
        if sample < settling:
            continue
        around = (chain.filtered[sample - 1 : sample + 1, channel] - thresholds[channel]) / rms[channel]
        if np.abs(around).min() <= CLOSE:
            distance = float(around[np.argmin(np.abs(around))])
            found.append({"sample": sample, "channel": channel, "distance_rms": distance})
    return found
