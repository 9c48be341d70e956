"""The chain's float32 arithmetic in plain loops, one value at a time, for the stages.

In the order of operations this is what `strip` does for many channels at once; both give the same bits.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from cortexwire.signal.vectors import fma
from cortexwire.types import Microvolts


@njit(cache=True, error_model="numpy")
def scale_and_add(x: Microvolts, scale: np.float32, offsets: Microvolts) -> Microvolts:
    """`x * scale + offsets`, rounded once."""
    y = np.empty_like(x)
    for i in range(x.shape[0]):
        for c in range(x.shape[1]):
            y[i, c] = fma(x[i, c], scale, offsets[i, c])
    return y


@njit(cache=True, error_model="numpy")
def add_power(y: Microvolts, mean_absolute: bool, power: NDArray[np.float32]) -> None:
    """Add squares, or absolute values, of `(n, n_channels)` samples to `(n_channels,)` sums, sample by sample."""
    for i in range(y.shape[0]):
        for c in range(y.shape[1]):
            power[c] = power[c] + abs(y[i, c]) if mean_absolute else fma(y[i, c], y[i, c], power[c])


@njit(cache=True, error_model="numpy")
def run_sections(
    x: Microvolts,
    sections: NDArray[np.float32],
    high_pass: bool,
    rounding: NDArray[np.float32],
    ends: NDArray[np.bool_],
    memory: NDArray[np.float32],
    filtered: Microvolts,
) -> None:
    """Filter samples whose first zeros were applied already.

    Args:
        x: Samples, `(n, n_channels)`.
        sections: `FilterDesign.words`, `(n_sections, 5)`.
        high_pass: Numerators are (1, -2, 1), not (1, 0, -1).
        rounding: Rounding constant of each channel; 0 does not round.
        ends: Whether a block ends with a sample, `(n,)`.
        memory: s1 and s2 of each section, `(n_channels, n_sections, 2)`; carried on.
        filtered: Result, `(n, n_channels)`.
    """
    for c in range(x.shape[1]):
        for i in range(x.shape[0]):
            y = x[i, c]
            for k in range(len(sections)):
                y = _section(y, sections[k], k == 0, high_pass, memory[c, k])
            filtered[i, c] = y
            if ends[i]:
                for k in range(len(sections)):
                    _synchronise(sections[k], rounding[c], memory[c, k])


@njit(cache=True, error_model="numpy")
def _section(
    x: np.float32, words: NDArray[np.float32], first: bool, high_pass: bool, memory: NDArray[np.float32]
) -> np.float32:
    y = x + memory[0]
    if first:
        memory[0] = fma(words[0], y, memory[1])
        memory[1] = words[1] * y
    elif high_pass:
        memory[0] = fma(words[0], y, fma(np.float32(-2.0), x, memory[1]))
        memory[1] = fma(words[1], y, x)
    else:
        memory[0] = fma(words[0], y, memory[1])
        memory[1] = fma(words[1], y, -x)
    return np.float32(y)


@njit(cache=True, error_model="numpy")
def _synchronise(words: NDArray[np.float32], rounding: np.float32, memory: NDArray[np.float32]) -> None:
    """Round the memory in the coordinates s1 and s2 + Re(pole) s1."""
    real, first_step, second_step = words[2], rounding * words[3], rounding * words[4]
    turned = fma(real, memory[0], memory[1])
    memory[0] = (memory[0] + first_step) - first_step
    turned = (turned + second_step) - second_step
    memory[1] = fma(-real, memory[0], turned)
