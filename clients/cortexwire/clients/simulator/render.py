"""The inner loops: samples of one block from private noise, shared rows and spike templates.

Float32 sums in a fixed order, rounded half up and clipped to int16: the same on every machine, since no
operation is fused or reordered.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np


def _render(
    out: Any,
    bank: Any,
    rows_a: Any,
    turns_a: Any,
    rows_b: Any,
    turns_b: Any,
    fade_a: Any,
    fade_b: Any,
    gain: Any,
    shared: Any,
    mixing: Any,
) -> None:
    """Fill `out` int16 `(n, channels)` with noise and shared rows.

    `bank` is int16 `(period, 2 x traces)`; `rows_*`, `turns_*` int64 `(groups,)` say where a group of
    channels reads it; `fade_*` float32 `(n,)`; `gain` float32 `(channels,)`; `shared` float32 `(6, n)`,
    `mixing` float32 `(6, channels)`.
    """
    n, channels = out.shape
    period = bank.shape[0]
    traces = bank.shape[1] // 2
    half = np.float32(32_768.5)
    low = np.float32(0.0)
    high = np.float32(65_535.0)
    for group in range(rows_a.shape[0]):
        first = group * traces
        width = min(traces, channels - first)
        g = gain[first : first + width]
        m0 = mixing[0, first : first + width]
        m1 = mixing[1, first : first + width]
        m2 = mixing[2, first : first + width]
        m3 = mixing[3, first : first + width]
        m4 = mixing[4, first : first + width]
        m5 = mixing[5, first : first + width]
        row_a = rows_a[group]
        row_b = rows_b[group]
        for t in range(n):
            a = bank[(row_a + t) % period, turns_a[group] : turns_a[group] + width]
            b = bank[(row_b + t) % period, turns_b[group] : turns_b[group] + width]
            target = out[t, first : first + width]
            wa = fade_a[t]
            wb = fade_b[t]
            s0 = shared[0, t]
            s1 = shared[1, t]
            s2 = shared[2, t]
            s3 = shared[3, t]
            s4 = shared[4, t]
            s5 = shared[5, t]
            for c in range(width):
                x = (np.float32(a[c]) * wa + np.float32(b[c]) * wb) * g[c]
                x += s0 * m0[c] + s1 * m1[c] + s2 * m2[c] + s3 * m3[c] + s4 * m4[c] + s5 * m5[c]
                x = min(max(x + half, low), high)
                target[c] = np.int16(np.int32(x) - np.int32(32_768))


def _add_spikes(out: Any, onsets: Any, channels: Any, waves: Any, templates: Any) -> None:
    """Add templates `(n_waves, length)` to `out`, clipped; onset rows may lie before it or near its end."""
    n = out.shape[0]
    length = templates.shape[1]
    for k in range(onsets.shape[0]):
        onset = onsets[k]
        channel = channels[k]
        wave = waves[k]
        for i in range(max(0, -onset), min(length, n - onset)):
            value = np.int32(out[onset + i, channel]) + np.int32(templates[wave, i])
            out[onset + i, channel] = min(max(value, -32_768), 32_767)


render: Callable[..., None] = numba.njit(cache=True)(_render)
add_spikes: Callable[..., None] = numba.njit(cache=True)(_add_spikes)
