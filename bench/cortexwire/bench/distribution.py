"""Distributions of durations: percentiles, drift, HdrHistograms, and when a tail may be judged.

Durations are recorded in nanoseconds with three significant digits (an error of at most 0.1 %), so histograms of
several runs can be added, and exported: the encoded payload is the HdrHistogram log format, which its tools read.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
from hdrh.histogram import HdrHistogram
from numpy.typing import ArrayLike, NDArray

PERCENTS: Final = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p99_9": 99.9, "max": 100.0}
MOST_SLEEPER_P99_US: Final = 500.0
"""A machine that lets a bare sleeper oversleep by more, one time in a hundred, says nothing about a service's tail."""
NOT_JUDGED: Final = "not judged"
LONGEST_NS: Final = 3_600_000_000_000
"""Longest duration that a histogram holds; longer ones count as this."""
DIGITS: Final = 3
_S_PER_MINUTE: Final = 60.0

Micros = NDArray[np.float64]
"""Durations in microseconds, `(n,)`."""


def percentiles(values: ArrayLike) -> dict[str, float]:
    """p50, p90, p99, p99.9 and the largest; zeros where there is nothing."""
    known = np.asarray(values, np.float64)
    if not known.size:
        return dict.fromkeys(PERCENTS, 0.0)
    return {name: round(float(np.percentile(known, percent)), 1) for name, percent in PERCENTS.items()}


def judged(sleeper_us: ArrayLike) -> bool:
    """Whether the machine was quiet enough for tails to be judged: by what a sleep of 1 ms was too long."""
    over = np.asarray(sleeper_us, np.float64)
    return bool(over.size and np.percentile(over, PERCENTS["p99"]) <= MOST_SLEEPER_P99_US)


def drift_us_per_min(values: ArrayLike, seconds: float) -> float:
    """How a duration changed over a run: median of the second half less that of the first, over half the run.

    Args:
        values: Durations in order of time, evenly spread over the run.
        seconds: Length of the run.

    Returns:
        Microseconds per minute; 0 with fewer than four values. A backlog that builds up makes it large: whoever
        falls behind by one part in a thousand adds 60,000 each minute.
    """
    known = np.asarray(values, np.float64)
    if known.size < 4 or seconds <= 0:
        return 0.0
    first, second = known[: known.size // 2], known[known.size // 2 :]
    return float((np.median(second) - np.median(first)) / (seconds / 2) * _S_PER_MINUTE)


def histogram_of(values_us: ArrayLike) -> HdrHistogram:
    """Record durations given in microseconds; below zero counts as zero."""
    histogram = HdrHistogram(1, LONGEST_NS, DIGITS)
    values = np.clip(np.rint(np.asarray(values_us, np.float64) * 1e3), 0, LONGEST_NS).astype(np.int64)
    for value, count in zip(*(part.tolist() for part in np.unique(values, return_counts=True)), strict=True):
        histogram.record_value(value, count)
    return histogram


def encoded(histogram: HdrHistogram) -> str:
    """The payload of a histogram: base64 of the compressed V2 format."""
    return str(histogram.encode().decode("ascii"))


def decoded(payload: str) -> HdrHistogram:
    """Read a payload.

    Raises:
        ValueError: It is none.
    """
    try:
        return HdrHistogram.decode(payload)
    except Exception as error:  # hdrh raises classes without a common base, and zlib's and base64's own
        raise ValueError(f"expected an encoded HdrHistogram, got {payload[:24]!r}...: {error}") from error


def encoded_all(stages_us: Mapping[str, ArrayLike]) -> dict[str, str]:
    """One payload for each stage that has any values."""
    return {name: encoded(histogram_of(values)) for name, values in stages_us.items() if np.size(values)}


def merged(payloads: Iterable[str]) -> str:
    """Add histograms up; the payload of all of them."""
    whole = HdrHistogram(1, LONGEST_NS, DIGITS)
    for payload in payloads:
        whole.add(decoded(payload))
    return encoded(whole)


def counted_us(payload: str) -> tuple[Micros, NDArray[np.int64]]:
    """The values of a histogram in ascending order, in microseconds, and how often each was recorded."""
    rows = [(i.value_iterated_to, i.count_added_in_this_iter_step) for i in decoded(payload).get_recorded_iterator()]
    values = np.array([row[0] for row in rows], np.float64) / 1e3
    return values, np.array([row[1] for row in rows], np.int64)


def percentiles_of(payload: str) -> dict[str, float]:
    """As `percentiles`, of a histogram."""
    found: Any = decoded(payload)
    if not found.get_total_count():
        return dict.fromkeys(PERCENTS, 0.0)
    return {name: round(found.get_value_at_percentile(percent) / 1e3, 1) for name, percent in PERCENTS.items()}
