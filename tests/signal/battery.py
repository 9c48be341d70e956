"""`check_stage`: the laws that every stage of the signal chain keeps, and the fused front end too."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.signal.streams import packets

Data = tuple[NDArray[Any], ...]
"""What a stage is fed: arrays with the same number of rows, one row a sample."""


@dataclass(frozen=True)
class Case:
    """How to try one stage.

    Attributes:
        name: Its name.
        make: Makes a fresh stage.
        data: What it is fed.
        run: Gives it rows; returns what came out, in order, one piece a sample or a bin.
        reset: Makes it like fresh.
    """

    name: str
    make: Callable[[], Any]
    data: Data
    run: Callable[[Any, Data], list[NDArray[Any]]]
    reset: Callable[[Any], None]


def check_stage(case: Case) -> None:
    """Try every law on one stage."""
    whole = _feed(case, case.make(), None, size=len(case.data[0]))
    assert whole
    for size in (1, 7, 30, 600, None):
        assert _same(_feed(case, case.make(), None, size), whole), f"{case.name}: packets of {size} differ"
    _check_causal(case, whole)
    _check_empty(case, whole)
    _check_input_is_left_alone(case)
    stage = case.make()
    _feed(case, stage, slice(0, len(case.data[0]) * 2 // 3), 100)
    case.reset(stage)
    assert _same(_feed(case, stage, None, 100), whole), f"{case.name}: reset is not like fresh"
    assert all(np.isfinite(piece).all() for piece in whole)
    _check_memory(case)


def _take(data: Data, rows: slice) -> Data:
    return tuple(array[rows] for array in data)


def _feed(case: Case, stage: Any, rows: slice | None, size: int | None) -> list[NDArray[Any]]:
    data = _take(case.data, rows or slice(None))
    out: list[NDArray[Any]] = []
    for start, stop in packets(len(data[0]), size):
        out += case.run(stage, _take(data, slice(start, stop)))
    return out


def _same(a: list[NDArray[Any]], b: list[NDArray[Any]]) -> bool:
    return len(a) == len(b) and all(x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True))


def _check_causal(case: Case, whole: list[NDArray[Any]]) -> None:
    """What comes later changes nothing that came out before: by sample, or by bins that had ended."""
    n = len(case.data[0])
    before = len(_feed(case, case.make(), slice(0, n // 2), n))
    changed = copy.deepcopy(case.data)
    for array in changed:
        array[n // 2 :] = array[n // 2 :][::-1]
    assert before
    assert _same(case.run(case.make(), changed)[:before], whole[:before]), f"{case.name}: is not causal"


def _check_empty(case: Case, whole: list[NDArray[Any]]) -> None:
    stage = case.make()
    nothing = _take(case.data, slice(0, 0))
    half = len(case.data[0]) // 2 + 1
    out = case.run(stage, nothing)
    assert out == []
    out += case.run(stage, _take(case.data, slice(0, half)))
    out += case.run(stage, nothing)
    out += case.run(stage, _take(case.data, slice(half, None)))
    assert _same(out, whole), f"{case.name}: an empty chunk leaves a trace"


def _check_input_is_left_alone(case: Case) -> None:
    data = copy.deepcopy(case.data)
    case.run(case.make(), data)
    assert all(np.array_equal(a, b) for a, b in zip(data, case.data, strict=True))
    assert all(array.flags.writeable for array in data)


def _check_memory(case: Case) -> None:
    """As much is held after ten times the data as after it came once."""
    stage = case.make()
    _feed(case, stage, None, 100)
    held = held_bytes(stage)
    for _ in range(10):
        _feed(case, stage, None, 100)
    assert held_bytes(stage) <= held, f"{case.name}: memory grows"


def held_bytes(thing: Any, seen: set[int] | None = None) -> int:
    """Bytes of all arrays, and items of all lists, that an object holds."""
    seen = set() if seen is None else seen
    if id(thing) in seen:
        return 0
    seen.add(id(thing))
    if isinstance(thing, np.ndarray):
        return thing.nbytes
    if isinstance(thing, dict):
        return sum(held_bytes(value, seen) for value in thing.values())
    if isinstance(thing, list | tuple):
        return len(thing) + sum(held_bytes(value, seen) for value in thing)
    return held_bytes(vars(thing), seen) if hasattr(thing, "__dict__") and not isinstance(thing, type) else 0
