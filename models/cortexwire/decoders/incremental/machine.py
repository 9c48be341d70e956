"""Compiled vector operations, and the loop that runs a list of them.

A program is a table of int64 words, one row of `WORDS` an operation: its code, the addresses of what it writes and
reads, sizes and strides. All values are float32 and lie end to end. Every sum has one order, whatever the sizes, and
no multiply-add is fused, so a program gives the same bits wherever and whenever it runs on one kind of processor.
"""

from enum import IntEnum
from typing import Any, Final

import numpy as np
from numba import njit

from cortexwire.native.addresses import array_at

WORDS: Final = 12
"""Words of an operation: code, target, operands a, b and c, sizes n and m, then steps or zeros."""
LANES: Final = 16
"""Partial sums of a dot product."""
FEW: Final = 16
"""Outputs below which a product is made of dot products instead of weighted columns."""


class Op(IntEnum):
    """Codes of operations; `n` and `m` are the sizes of the words that follow the addresses."""

    COPY = 0
    """n values of a."""
    ADD = 1
    """a + b over n rows and m columns; steps of a by row and column, then those of b; so do all up to GE."""
    SUB = 2
    MUL = 3
    DIV = 4
    MAX = 5
    MIN = 6
    GE = 7
    """1 where a >= b, else 0."""
    WHERE = 8
    """b where a is not 0, else c, n values; steps of a, b, c."""
    SIGMOID = 9
    """c: room for n values; so has TANH."""
    TANH = 10
    ROUND = 11
    """To the nearest integer, to even from halfway."""
    GATHER = 12
    """Value number b[i] of the m values of a, n values; b holds int32."""
    SUM_ROWS = 13
    """Sum of n rows of m columns."""
    SUM_COLUMNS = 14
    """Sum of m columns, for each of n rows."""
    COLUMNS = 15
    """Add a[k] times row k of b, n rows of m values; rows whose factor is 0 are left out."""
    DOTS = 16
    """Add the dot product of a, n values, with each of m rows of b; c: room for `LANES` values."""


_LOG2E = np.float32(1.4426950408889634)
# ln 2 in two parts; products of the first with small integers are exact.
_LN2_HIGH = np.float32(0.693145751953125)
_LN2_LOW = np.float32(1.42860682030941723e-6)
_LARGEST = np.float32(87.0)
_ONE, _TWO, _ZERO, _HALF = np.float32(1), np.float32(2), np.float32(0), np.float32(0.5)
# Taylor's series of exp on half a binade either way: the first term left out is 5e-9.
_P3, _P4, _P5, _P6, _P7 = (np.float32(1 / k) for k in (6, 24, 120, 720, 5040))


@njit(cache=True, error_model="numpy")
def _exp(target: int, a: int, n: int, factor: Any, room: int) -> None:
    """Write exp(factor * a); NaN stays NaN, and what is beyond `_LARGEST` counts as that."""
    y, x = array_at(target, n, _ZERO), array_at(a, n, _ZERO)
    powers, scales = array_at(room, n, np.int32(0)), array_at(room, n, _ZERO)
    for i in range(n):
        t = x[i] * factor
        t = _LARGEST if t > _LARGEST else t
        t = -_LARGEST if t < -_LARGEST else t
        k = np.rint(t * _LOG2E)
        r = (t - k * _LN2_HIGH) - k * _LN2_LOW
        p = _P6 + r * _P7
        p = _P5 + r * p
        p = _P4 + r * p
        p = _P3 + r * p
        p = _HALF + r * p
        p = _ONE + r * p
        y[i] = _ONE + r * p
        powers[i] = (np.int32(k) + np.int32(127)) << np.int32(23)
    for i in range(n):
        y[i] *= scales[i]


@njit(cache=True, error_model="numpy")
def add_rows(target: int, factors: int, weights: int, n: int, m: int) -> None:
    """Add `factors[k]` times row k of `(n, m)` weights to m values, row by row.

    Four rows are taken at once where none of their factors is 0; what is added to each value, and in which order, is
    the same.
    """
    y, f = array_at(target, m, _ZERO), array_at(factors, n, _ZERO)
    k = 0
    while k < n:
        if k + 4 <= n and f[k] != 0 and f[k + 1] != 0 and f[k + 2] != 0 and f[k + 3] != 0:
            add_four(
                target, m, f[k], weights + 4 * k * m, f[k + 1], weights + 4 * (k + 1) * m,
                f[k + 2], weights + 4 * (k + 2) * m, f[k + 3], weights + 4 * (k + 3) * m,
            )  # fmt: skip
            k += 4
            continue
        if f[k] != 0:
            row = array_at(weights + 4 * k * m, m, _ZERO)
            factor = f[k]
            for j in range(m):
                y[j] += factor * row[j]
        k += 1


@njit(cache=True, error_model="numpy")
def add_four(
    target: int, m: int, f0: Any, w0: int, f1: Any, w1: int, f2: Any, w2: int, f3: Any, w3: int
) -> None:  # fmt: skip
    """Add four rows of m values, each times its factor, one after the other."""
    y = array_at(target, m, _ZERO)
    r0, r1, r2, r3 = array_at(w0, m, _ZERO), array_at(w1, m, _ZERO), array_at(w2, m, _ZERO), array_at(w3, m, _ZERO)
    for j in range(m):
        y[j] = (((y[j] + f0 * r0[j]) + f1 * r1[j]) + f2 * r2[j]) + f3 * r3[j]


@njit(cache=True, error_model="numpy")
def _dots(target: int, a: int, b: int, n: int, m: int, room: int) -> None:
    y, x, sums = array_at(target, m, _ZERO), array_at(a, n, _ZERO), array_at(room, LANES, _ZERO)
    whole = n - n % LANES
    for j in range(m):
        row = array_at(b + 4 * j * n, n, _ZERO)
        for lane in range(LANES):
            sums[lane] = _ZERO
        for k in range(0, whole, LANES):
            for lane in range(LANES):
                sums[lane] += x[k + lane] * row[k + lane]
        for k in range(whole, n):
            sums[k - whole] += x[k] * row[k]
        total = _ZERO
        for lane in range(LANES):
            total += sums[lane]
        y[j] += total


@njit(cache=True, error_model="numpy")
def _pair(op: int, u: Any, v: Any) -> Any:
    if op == Op.ADD:
        return u + v
    if op == Op.SUB:
        return u - v
    if op == Op.MUL:
        return u * v
    if op == Op.DIV:
        return u / v
    if op == Op.MAX:
        return u if u >= v or u != u else v
    if op == Op.MIN:
        return u if u <= v or u != u else v
    return _ONE if u >= v else _ZERO


@njit(cache=True, error_model="numpy")
def _alike(op: int, target: int, a: int, b: int, n: int) -> None:
    """The operations on two operands, for two rows of n values."""
    y, u, v = array_at(target, n, _ZERO), array_at(a, n, _ZERO), array_at(b, n, _ZERO)
    if op == Op.ADD:
        for i in range(n):
            y[i] = u[i] + v[i]
    elif op == Op.SUB:
        for i in range(n):
            y[i] = u[i] - v[i]
    elif op == Op.MUL:
        for i in range(n):
            y[i] = u[i] * v[i]
    else:
        for i in range(n):
            y[i] = _pair(op, u[i], v[i])


@njit(cache=True, error_model="numpy")
def _sums(op: int, target: int, a: int, n: int, m: int) -> None:
    x = array_at(a, n * m, _ZERO)
    if op == Op.SUM_ROWS:
        y = array_at(target, m, _ZERO)
        y[:] = _ZERO
        for i in range(n):
            for j in range(m):
                y[j] += x[i * m + j]
    else:
        y = array_at(target, n, _ZERO)
        for i in range(n):
            total = _ZERO
            for j in range(m):
                total += x[i * m + j]
            y[i] = total


@njit(cache=True, error_model="numpy")
def run_program(program: int, n_ops: int) -> None:
    """Run operations one after the other.

    Args:
        program: Address of their words.
        n_ops: How many there are.
    """
    words = array_at(program, n_ops * WORDS, np.int64(0))
    for number in range(n_ops):
        at = number * WORDS
        op, target, a, b, c, n, m = (
            words[at], words[at + 1], words[at + 2], words[at + 3], words[at + 4], words[at + 5], words[at + 6]
        )  # fmt: skip
        if op == Op.COPY:
            y, x = array_at(target, n, _ZERO), array_at(a, n, _ZERO)
            for i in range(n):
                y[i] = x[i]
        elif op <= Op.GE:
            ra, ca, rb, cb = words[at + 7], words[at + 8], words[at + 9], words[at + 10]
            if n == 1 and ca == 1 and cb == 1:
                _alike(op, target, a, b, m)
            else:
                for i in range(n):
                    y = array_at(target + 4 * i * m, m, _ZERO)
                    u, v = array_at(a + 4 * i * ra, m * ca + 1, _ZERO), array_at(b + 4 * i * rb, m * cb + 1, _ZERO)
                    for j in range(m):
                        y[j] = _pair(op, u[j * ca], v[j * cb])
        elif op == Op.WHERE:
            y = array_at(target, n, _ZERO)
            sa, sb, sc = words[at + 7], words[at + 8], words[at + 9]
            condition = array_at(a, n * sa + 1, _ZERO)
            p, q = array_at(b, n * sb + 1, _ZERO), array_at(c, n * sc + 1, _ZERO)
            for i in range(n):
                y[i] = p[i * sb] if condition[i * sa] != 0 else q[i * sc]
        elif op == Op.SIGMOID:
            y = array_at(target, n, _ZERO)
            _exp(target, a, n, -_ONE, c)
            for i in range(n):
                y[i] = _ONE / (_ONE + y[i])
        elif op == Op.TANH:
            y = array_at(target, n, _ZERO)
            _exp(target, a, n, _TWO, c)
            for i in range(n):
                y[i] = _ONE - _TWO / (y[i] + _ONE)
        elif op == Op.ROUND:
            y, x = array_at(target, n, _ZERO), array_at(a, n, _ZERO)
            for i in range(n):
                y[i] = np.rint(x[i])
        elif op == Op.GATHER:
            y, where = array_at(target, n, _ZERO), array_at(b, n, np.int32(0))
            x = array_at(a, m, _ZERO)
            for i in range(n):
                y[i] = x[where[i]]
        elif op == Op.COLUMNS:
            add_rows(target, a, b, n, m)
        elif op == Op.DOTS:
            _dots(target, a, b, n, m, c)
        else:
            _sums(op, target, a, n, m)
