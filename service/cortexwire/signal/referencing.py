"""Common references, sample by sample, for the fused front end.

Int16 sums and order statistics are exact, so neither the order of channels nor the cut of packets shows in them.
Channels that are left out, and channels at the rails in that very sample, do not take part.
"""

from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload
from numpy.typing import NDArray

from cortexwire.signal.strip import LANES, live_sum

MIN_LIVE = 8
"""Fewest live channels that make a common reference."""
NONE, MEAN, MEDIAN = 0, 1, 2
"""Codes of the reference modes in compiled code."""


def _sum_live(row: Any, live: Any, low: Any, high: Any) -> Any:
    """Sum and number of the values of one sample that take part; see the overloads."""
    raise RuntimeError("compiled code only")


@overload(_sum_live)
def _overload_sum_live(row: Any, live: Any, low: Any, high: Any) -> Any:
    if row.dtype == types.int16:

        def exact(row: Any, live: Any, low: Any, high: Any) -> Any:
            total, number = live_sum(
                row.ctypes.data, len(row) // LANES, live.ctypes.data, np.int64(low), np.int64(high)
            )
            return np.float64(total), number

        return exact

    def in_lanes(row: Any, live: Any, low: Any, high: Any) -> Any:
        sums = np.zeros(LANES, np.float64)
        number = 0
        for start in range(0, len(row), LANES):
            for lane in range(LANES):
                x = row[start + lane]
                used = live[start + lane] != 0 and low < x < high
                sums[lane] += x if used else 0.0
                number += 1 if used else 0
        total = 0.0
        for lane in range(LANES):
            total += sums[lane]
        return total, number

    return in_lanes


@njit(cache=True, error_model="numpy")
def _count_up_to(values: NDArray[np.int16], level: np.int16) -> int:
    number = np.int32(0)
    for i in range(len(values)):
        number += np.int32(values[i] <= level)
    return number


@njit(cache=True, error_model="numpy")
def _order_statistic(values: NDArray[np.int16], rank: int, guess: int) -> int:
    """The smallest value that at least `rank` values do not exceed; gallops away from `guess`, then bisects."""
    step = 4
    if _count_up_to(values, np.int16(guess)) >= rank:
        high = guess
        low = max(high - step, -32769)
        while low > -32769 and _count_up_to(values, np.int16(low)) >= rank:
            high = low
            step *= 2
            low = max(low - step, -32769)
    else:
        low = guess
        high = min(low + step, 32767)
        while high < 32767 and _count_up_to(values, np.int16(high)) < rank:
            low = high
            step *= 2
            high = min(high + step, 32767)
    while high - low > 1:
        middle = (low + high) // 2
        if _count_up_to(values, np.int16(middle)) >= rank:
            high = middle
        else:
            low = middle
    return high


@njit(cache=True, error_model="numpy")
def _next_above(values: NDArray[np.int16], level: int) -> int:
    lowest = np.int16(32767)
    bound = np.int16(level)
    for i in range(len(values)):
        value = values[i] if values[i] > bound else np.int16(32767)
        lowest = min(lowest, value)
    return np.int64(lowest)


def _median_live(row: Any, live: Any, low: Any, high: Any, scratch: Any, guess: Any) -> Any:
    """Median and number of the values of one sample that take part; see the overloads."""
    raise RuntimeError("compiled code only")


@overload(_median_live)
def _overload_median_live(row: Any, live: Any, low: Any, high: Any, scratch: Any, guess: Any) -> Any:
    if row.dtype == types.int16:

        def exact(row: Any, live: Any, low: Any, high: Any, scratch: Any, guess: Any) -> Any:
            rail_low, rail_high = np.int16(low), np.int16(high)
            used = np.int32(0)
            for c in range(len(row)):
                x = row[c]
                ok = (live[c] != 0) & (x > rail_low) & (x < rail_high)
                scratch[c] = x if ok else np.int16(32767)
                used += np.int32(ok)
            number = np.int64(used)
            if number == 0:
                return 0.0, 0
            rank = (number + 1) // 2
            lower = _order_statistic(scratch, rank, guess)
            if number % 2 or _count_up_to(scratch, np.int16(lower)) > rank:
                return np.float64(lower), number
            return 0.5 * (lower + _next_above(scratch, lower)), number

        return exact

    def sorted_values(row: Any, live: Any, low: Any, high: Any, scratch: Any, guess: Any) -> Any:
        number = 0
        for c in range(len(row)):
            x = row[c]
            if live[c] != 0 and low < x < high:
                scratch[number] = x
                number += 1
        if number == 0:
            return 0.0, 0
        return np.float64(np.median(scratch[:number])), number

    return sorted_values


@njit(cache=True, error_model="numpy")
def reference_offsets(
    mode: int,
    raw: NDArray[Any],
    live: NDArray[np.int16],
    group: NDArray[np.int32],
    rails: tuple[float, float],
    scale: float,
    scratch: NDArray[Any],
    too_few: NDArray[np.int32],
    offsets: NDArray[np.float32],
) -> None:
    """Write `-scale * reference` for every sample, or for every sample and channel where there are groups.

    Args:
        mode: `NONE`, `MEAN` or `MEDIAN`.
        raw: Samples, `(n, padded channels)`, in raw units.
        live: One row per group, `(n_groups, padded channels)`; not 0 where a channel takes part.
        group: The group of each padded channel, or empty where all share one reference (or there is none).
        rails: Lowest and highest raw value, both saturated.
        scale: Microvolts per raw unit times the filter's gain, with the polarity's sign.
        scratch: One sample of the raw type, and one value more for each group.
        too_few: Set to 1 for each group that had fewer than `MIN_LIVE` live channels in some sample.
        offsets: Result, flat: one value a sample, or one a sample and channel.
    """
    if mode == NONE:
        offsets[: raw.shape[0]] = np.float32(0.0)
        return
    for i in range(raw.shape[0]):
        row = raw[i]
        for g in range(live.shape[0]):
            if mode == MEAN:
                total, number = _sum_live(row, live[g], rails[0], rails[1])
                value = total / max(number, 1)
            else:
                guess = np.int64(scratch[len(row) + g])
                value, number = _median_live(row, live[g], rails[0], rails[1], scratch[: len(row)], guess)
                scratch[len(row) + g] = value
            if number < MIN_LIVE:
                too_few[g] = 1
                value = 0.0
            offset = np.float32(-scale * value)
            if len(group) == 0:
                offsets[i] = offset
            else:
                line = offsets[i * len(row) : (i + 1) * len(row)]
                for c in range(len(row)):
                    if group[c] == g:
                        line[c] = offset
