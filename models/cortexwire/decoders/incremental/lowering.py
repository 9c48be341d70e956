"""From a bundle's graph to programs: which operation runs when, and where every value lies.

Every value has an origin. A `CONSTANT` is computed once; what comes of `STATE` and constants runs before the bin has
begun; `ENTERED` values are made of the features entry by entry; all `ELSE` waits for the end of the bin or, where no
output needs it, until the outputs are out. A product with the entered values becomes sums to which rows are added
crossing by crossing. A product with values that were joined is the sum of the products with each, so what is past in
a window, or among a convolution's taps, is ready before the bin is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from cortexwire.decoders.incremental.machine import FEW, LANES, WORDS, Op
from cortexwire.decoders.manifest import Manifest
from cortexwire.decoders.tensor import aligned_zeros
from cortexwire.errors import BundleError

MOST_RUNS: Final = 64
"""Stretches up to which a gather is taken for slices."""
_PAIRS: Final = {
    "Add": Op.ADD, "Sub": Op.SUB, "Mul": Op.MUL, "Div": Op.DIV, "Max": Op.MAX, "Min": Op.MIN, "GreaterOrEqual": Op.GE,
}  # fmt: skip
_SINGLE: Final = {"Sigmoid": Op.SIGMOID, "Tanh": Op.TANH, "Round": Op.ROUND}
_ALIASES: Final = ("Identity", "Cast", "Unsqueeze", "Squeeze")

Floats = NDArray[np.float32]


class Origin(IntEnum):
    """What a value depends on."""

    CONSTANT = 0
    STATE = 1
    ENTERED = 2
    ELSE = 3


class Phase(IntEnum):
    """When an operation runs."""

    SETUP = 0
    """Once, when the values of an overlay come into force."""
    AHEAD = 1
    """When the states have moved on."""
    ENTER = 2
    """Where the entered values are wanted."""
    CLOSE = 3
    """At the end of the bin."""
    AFTER = 4
    """When the outputs are out; the states move on at its end."""


_PHASES: Final = {Origin.CONSTANT: Phase.SETUP, Origin.STATE: Phase.AHEAD, Origin.ENTERED: Phase.ENTER}


@dataclass(frozen=True)
class Value:
    """Values that lie end to end: their shape in the graph, the address of the first, what they depend on."""

    shape: tuple[int, ...]
    at: int
    origin: Origin

    @property
    def size(self) -> int:
        """How many there are."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def parts(self) -> "tuple[Value, ...]":
        """Itself."""
        return (self,)


@dataclass(frozen=True)
class Joined:
    """One row whose parts lie in several places."""

    parts: tuple[Value, ...]

    @property
    def size(self) -> int:
        """How many values there are."""
        return sum(part.size for part in self.parts)

    @property
    def shape(self) -> tuple[int, ...]:
        """As in the graph."""
        return (1, self.size)

    @property
    def origin(self) -> Origin:
        """What the whole depends on."""
        return max(part.origin for part in self.parts)


@dataclass(frozen=True, eq=False)
class Lowered:
    """A graph as programs; the arrays that they read and write live as long as it does.

    Attributes:
        programs: Operations of each phase, int64 `(n_ops, WORDS)`.
        entered: What the first layer is given, float32 `(n_features,)`.
        enters_close: Whether the operations at the end of a bin read the entered values.
        weights: Rows of each feature, float32 `(n_features, n_sums)`.
        sums: Their sums, float32 `(n_sums,)`.
        outputs: Where outputs are found, by name, with the manifest's shapes.
        kept: The other arrays.
    """

    programs: Mapping[Phase, NDArray[np.int64]]
    entered: Floats
    enters_close: bool
    weights: Floats
    sums: Floats
    outputs: Mapping[str, Floats]
    kept: tuple[NDArray[Any], ...]


def lower(
    model: onnx.ModelProto,
    manifest: Manifest,
    parameters: Mapping[str, Floats],
    features: Floats,
    states: Mapping[str, Floats],
    where: str,
) -> Lowered:
    """Turn a bundle's graph into programs.

    Args:
        model: The graph.
        manifest: The bundle's manifest.
        parameters: Values in force, by name.
        features: Buffer that the features are read from, `(n_features,)`.
        states: Buffers of the states, by name, with the manifest's shapes.
        where: Names the bundle in messages.

    Raises:
        BundleError: The graph holds what only ONNX Runtime computes, or nothing in it is linear in the features.
    """
    lowering = _Lowering(model, manifest, parameters, features, states, where)
    for node in model.graph.node:
        lowering.add(node)
    return lowering.finish()


class _Lowering:
    def __init__(
        self,
        model: onnx.ModelProto,
        manifest: Manifest,
        parameters: Mapping[str, Floats],
        features: Floats,
        states: Mapping[str, Floats],
        where: str,
    ) -> None:
        self._manifest = manifest
        self._where = where
        self._states = states
        self._features = features
        self._ops: dict[Phase, list[list[int]]] = {phase: [] for phase in Phase}
        self._kept: list[NDArray[Any]] = [features, *states.values()]
        self._arrays: dict[str, NDArray[Any]] = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        self._arrays |= parameters
        self._values: dict[str, Value | Joined] = {
            name: self._hold(array, Origin.CONSTANT)
            for name, array in self._arrays.items()
            if array.dtype == np.float32
        }
        self._values[manifest.features.name] = Value((1, features.size), features.ctypes.data, Origin.ENTERED)
        for name, buffer in states.items():
            self._values[name] = Value((1, *buffer.shape), buffer.ctypes.data, Origin.STATE)
        self._needed = _needed(model, manifest)
        self._entered: int | None = None
        self._made: dict[int, Floats] = {features.ctypes.data: features}
        self._blocks: list[Floats] = []
        products = [n for n in model.graph.node if n.op_type in ("Gemm", "MatMul") and n.input[1] in self._arrays]
        self._sums = self._room(sum(max(self._arrays[n.input[1]].shape) for n in products))
        self._n_sums = 0
        self._enters_close = False

    def finish(self) -> Lowered:
        outputs = {}
        for spec in self._manifest.outputs:
            if spec.role == "state":
                continue
            if spec.dtype != "float32":
                raise self._refusal(f"output {spec.name} of {spec.dtype}")
            value = self._values[spec.name]
            found = self._room(value.size)
            self._copy(value, found, Phase.CLOSE)
            outputs[spec.name] = found.reshape(spec.shape)
        self._move_states()
        if self._entered is None:
            raise self._refusal("no layer that is linear in the features")
        return Lowered(
            {phase: np.array(ops, np.int64).reshape(-1, WORDS) for phase, ops in self._ops.items()},
            self._made[self._entered],
            self._enters_close,
            self._hold_array(np.concatenate(self._blocks, axis=1)),
            self._sums[: self._n_sums],
            outputs,
            tuple(self._kept),
        )

    def add(self, node: onnx.NodeProto) -> None:
        """Lower one node."""
        kind, (name, *others) = node.op_type, node.output
        if others or node.domain not in ("", "ai.onnx"):
            raise self._refusal(f"{node.domain or 'operation'} {kind} with outputs {list(node.output)}")
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if kind in ("Gemm", "MatMul"):
            self._product(node, attributes)
        elif kind in _PAIRS and len(node.input) == 2:
            self._pair(_PAIRS[kind], self._input(node.input[0]), self._input(node.input[1]), name)
        elif kind == "Relu":
            zero = self._hold(np.zeros((), np.float32), Origin.CONSTANT)
            self._pair(Op.MAX, self._input(node.input[0]), zero, name)
        elif kind == "Clip" and all(node.input[1:]) and len(node.input) == 3:
            self._pair(Op.MAX, self._input(node.input[0]), self._input(node.input[1]), name)
            self._pair(Op.MIN, self._input(name), self._input(node.input[2]), name)
        elif kind in _SINGLE:
            self._single(_SINGLE[kind], self._input(node.input[0]), name)
        elif kind == "Where":
            self._where_node(node)
        elif kind == "Concat":
            self._join(node, attributes)
        elif kind == "Slice":
            self._slice(node)
        elif kind == "Gather":
            self._gather(node, attributes)
        elif kind == "ReduceSum":
            self._reduce(node, attributes)
        elif kind in _ALIASES:
            self._alias(node, attributes)
        else:
            raise self._refusal(f"operation {kind}")

    def _refusal(self, what: str) -> BundleError:
        return BundleError(
            f"{self._where}: expected a graph that the incremental executor can run, got {what}; use executor onnx"
        )

    # Values and where they lie.

    def _room(self, size: int) -> Floats:
        array = aligned_zeros((max(size, 1),), np.dtype(np.float32))
        self._kept.append(array)
        return array[:size]

    def _hold_array(self, array: NDArray[Any]) -> NDArray[Any]:
        held = aligned_zeros(array.shape, array.dtype)
        np.copyto(held, array)
        self._kept.append(held)
        return held

    def _hold(self, array: NDArray[Any], origin: Origin) -> Value:
        return Value(array.shape, self._hold_array(array).ctypes.data, origin)

    def _input(self, name: str) -> Value | Joined:
        value = self._values.get(name)
        if value is None:
            raise self._refusal(f"an input {name!r} that is not float32")
        return value

    def _new(self, name: str, shape: tuple[int, ...], origin: Origin) -> tuple[Value, Phase]:
        """Make room for what a node gives; returns it and when the node runs."""
        room = self._room(int(np.prod(shape, dtype=np.int64)))
        value = Value(shape, room.ctypes.data, origin)
        self._values[name] = value
        self._made[value.at] = room
        return value, self._phase(origin, name)

    def _phase(self, origin: Origin, name: str) -> Phase:
        if origin is Origin.ELSE:
            return Phase.CLOSE if name in self._needed else Phase.AFTER
        return _PHASES[origin]

    def _emit(self, phase: Phase, op: Op, target: int, *words: int) -> None:
        row = [int(op), target, *words]
        self._ops[phase].append(row + [0] * (WORDS - len(row)))

    def _whole(self, value: Value | Joined, phase: Phase) -> Value:
        """What an operation reads in one piece."""
        if isinstance(value, Value):
            self._read(value, phase)
            return value
        room = self._room(value.size)
        self._copy(value, room, phase)
        return Value(value.shape, room.ctypes.data, value.origin)

    def _read(self, value: Value, phase: Phase) -> None:
        if value.origin is Origin.ENTERED and phase is Phase.CLOSE:
            self._enters_close = True

    def _copy(self, value: Value | Joined, room: Floats, phase: Phase) -> None:
        at = room.ctypes.data
        for part in value.parts:
            self._read(part, phase)
            self._emit(phase, Op.COPY, at, part.at, 0, 0, part.size)
            at += 4 * part.size

    # Operations.

    def _origin(self, *values: Value | Joined, size: int) -> Origin:
        """What an operation on entries depends on: it stays entry by entry where all else is constant."""
        origins = [value.origin for value in values]
        if max(origins) is not Origin.ENTERED:
            return max(origins)
        entry_by_entry = size == self._features.size and all(
            (value.origin is Origin.CONSTANT and value.size in (1, size))
            or (value.origin is Origin.ENTERED and isinstance(value, Value) and value.size == size)
            for value in values
        )
        return Origin.ENTERED if entry_by_entry else Origin.ELSE

    def _pair(self, op: Op, a: Value | Joined, b: Value | Joined, name: str) -> None:
        shape = np.broadcast_shapes(a.shape, b.shape)
        size = int(np.prod(shape, dtype=np.int64))
        target, phase = self._new(name, shape, self._origin(a, b, size=size))
        operands = self._whole(a, phase), self._whole(b, phase)
        steps = [_steps(value.shape, shape) for value in operands]
        dims = [k for k, length in enumerate(shape) if length > 1]
        if all(value.shape == shape or value.size == 1 for value in operands):
            n, m, walks = 1, size, [(0, int(value.size > 1)) for value in operands]
        elif len(dims) <= 2:
            *rows, columns = [*dims, *([0] if not dims else [])]
            n, m = (shape[rows[0]] if rows else 1), shape[columns]
            walks = [(step[rows[0]] if rows else 0, step[columns]) for step in steps]
        else:
            raise self._refusal(f"{op.name.lower()} of shapes {a.shape} and {b.shape}")
        self._emit(phase, op, target.at, operands[0].at, operands[1].at, 0, n, m, *walks[0], *walks[1])

    def _single(self, op: Op, a: Value | Joined, name: str) -> None:
        target, phase = self._new(name, a.shape, self._origin(a, size=a.size))
        room = self._room(a.size)
        self._emit(phase, op, target.at, self._whole(a, phase).at, 0, room.ctypes.data, a.size)

    def _where_node(self, node: onnx.NodeProto) -> None:
        values = [self._input(each) for each in node.input]
        shape = np.broadcast_shapes(*(value.shape for value in values))
        size = int(np.prod(shape, dtype=np.int64))
        if any(value.size not in (1, size) for value in values):
            raise self._refusal(f"a choice among shapes {[value.shape for value in values]}")
        target, phase = self._new(node.output[0], shape, self._origin(*values, size=size))
        condition, a, b = (self._whole(value, phase) for value in values)
        steps = [int(value.size > 1) for value in values]
        self._emit(phase, Op.WHERE, target.at, condition.at, a.at, b.at, size, 0, *steps)

    def _alias(self, node: onnx.NodeProto, attributes: Mapping[str, Any]) -> None:
        value = self._input(node.input[0])
        shape: tuple[int, ...] = value.shape
        if node.op_type == "Cast" and attributes["to"] != onnx.TensorProto.FLOAT:
            raise self._refusal(f"a cast to {onnx.TensorProto.DataType.Name(attributes['to'])}")
        if node.op_type in ("Unsqueeze", "Squeeze"):
            filled = np.empty(shape, np.uint8)
            axes = tuple(self._arrays[node.input[1]].tolist())
            shape = (np.expand_dims(filled, axes) if node.op_type == "Unsqueeze" else np.squeeze(filled, axes)).shape
        if isinstance(value, Value):
            value = Value(shape, value.at, value.origin)
        elif shape != value.shape:
            raise self._refusal(f"{node.op_type} of joined values")
        self._values[node.output[0]] = value

    def _join(self, node: onnx.NodeProto, attributes: Mapping[str, Any]) -> None:
        values = [self._input(each) for each in node.input]
        if attributes["axis"] not in (1, -1) or any(value.shape != (1, value.size) for value in values):
            raise self._refusal(f"a concatenation of shapes {[value.shape for value in values]}")
        self._values[node.output[0]] = Joined(tuple(part for value in values for part in value.parts))

    def _part(self, value: Value | Joined, start: int, stop: int) -> Value | Joined:
        found, at = [], 0
        for part in value.parts:
            low, high = max(start - at, 0), min(stop - at, part.size)
            if low < high:
                whole = (low, high) == (0, part.size)
                # Of entered values a part is no longer all that the features made.
                found.append(part if whole else Value((1, high - low), part.at + 4 * low, part.origin))
            at += part.size
        return found[0] if len(found) == 1 else Joined(tuple(found))

    def _slice(self, node: onnx.NodeProto) -> None:
        value = self._input(node.input[0])
        starts, ends, axes, *steps = (self._arrays[each].tolist() for each in node.input[1:])
        last = len(value.shape) - 1
        plain = len(axes) == 1 and axes[0] % (last + 1) == last and value.size == value.shape[last]
        if not plain or steps not in ([], [[1]]):
            raise self._refusal(f"a slice of shape {value.shape} along {axes}")
        start, stop, _ = slice(starts[0], ends[0]).indices(value.size)
        self._values[node.output[0]] = self._part(value, start, stop)

    def _gather(self, node: onnx.NodeProto, attributes: Mapping[str, Any]) -> None:
        value, where = self._input(node.input[0]), self._arrays.get(node.input[1])
        if where is None or attributes.get("axis", 0) != 1 or value.shape != (1, value.size):
            raise self._refusal(f"a gather from shape {value.shape}")
        flat = where.ravel() % value.size
        runs = np.split(flat, np.flatnonzero(np.diff(flat) != 1) + 1)
        if where.ndim == 1 and len(runs) <= MOST_RUNS:
            pieces = [self._part(value, int(run[0]), int(run[-1]) + 1) for run in runs]
            self._values[node.output[0]] = Joined(tuple(part for piece in pieces for part in piece.parts))
            return
        origin = value.origin if value.origin is not Origin.ENTERED else Origin.ELSE
        target, phase = self._new(node.output[0], (1, *where.shape), origin)
        source = self._whole(value, phase)
        indices = self._hold_array(flat.astype(np.int32))
        self._emit(phase, Op.GATHER, target.at, source.at, indices.ctypes.data, 0, flat.size, value.size)

    def _reduce(self, node: onnx.NodeProto, attributes: Mapping[str, Any]) -> None:
        value = self._input(node.input[0])
        axes = self._arrays[node.input[1]].tolist()
        shape, axis = value.shape, axes[0] % len(value.shape)
        before, after = int(np.prod(shape[:axis])), int(np.prod(shape[axis + 1 :]))
        if len(axes) != 1 or (before > 1 and after > 1):
            raise self._refusal(f"a sum of shape {shape} over {axes}")
        keep = (1,) if attributes.get("keepdims", 1) else ()
        origin = value.origin if value.origin is not Origin.ENTERED else Origin.ELSE
        target, phase = self._new(node.output[0], (*shape[:axis], *keep, *shape[axis + 1 :]), origin)
        source = self._whole(value, phase)
        if before == 1:
            self._emit(phase, Op.SUM_ROWS, target.at, source.at, 0, 0, shape[axis], after)
        else:
            self._emit(phase, Op.SUM_COLUMNS, target.at, source.at, 0, 0, before, shape[axis])

    def _product(self, node: onnx.NodeProto, attributes: Mapping[str, Any]) -> None:
        """Split a product by what its operand is joined from, and by when each part is known."""
        name, value, weights = node.output[0], self._input(node.input[0]), self._weights(node, attributes)
        m = len(weights)
        if value.shape != (1, value.size) or weights.shape[1] != value.size:
            raise self._refusal(f"a product of shapes {value.shape} and {weights.shape[::-1]}")
        more = self._input(node.input[2]) if len(node.input) > 2 else None
        if more is not None and more.size != m:
            raise self._refusal(f"a product of {m} values plus {more.size}")
        head: list[tuple[Value, Floats]] = []
        tail: list[tuple[Value, Floats]] = []
        rows: list[Floats] = []
        at = 0
        for part in value.parts:
            block = weights[:, at : at + part.size]
            at += part.size
            if part.origin <= Origin.STATE:
                head.append((part, block))
            elif self._becomes_rows(part):
                rows.append(block)
            else:
                tail.append((part, block))
        early = more is None or more.origin <= Origin.STATE
        before = max([part.origin for part, _ in head] + [more.origin if more and early else Origin.CONSTANT])
        later = bool(rows or tail or not early)
        first, phase = self._new(f"{name}/ahead" if later else name, (1, m), before)
        if more is not None and early:
            self._emit(phase, Op.COPY, first.at, self._whole(more, phase).at, 0, 0, m)
        else:
            zeros = self._hold_array(np.zeros(m, np.float32))
            self._emit(phase, Op.COPY, first.at, zeros.ctypes.data, 0, 0, m)
        for part, block in head:
            self._multiply(phase, first, part, block)
        if not later:
            return
        target, phase = self._new(name, (1, m), Origin.ELSE)
        if rows:
            block = np.add.reduce(rows)
            self._emit(phase, Op.ADD, target.at, first.at, self._add_sums(block), 0, 1, m, 0, 1, 0, 1)
        else:
            self._emit(phase, Op.COPY, target.at, first.at, 0, 0, m)
        for part, block in tail:
            self._multiply(phase, target, self._whole(part, phase), block)
        if more is not None and not early:
            self._emit(phase, Op.ADD, target.at, target.at, self._whole(more, phase).at, 0, 1, m, 0, 1, 0, 1)

    def _weights(self, node: onnx.NodeProto, attributes: Mapping[str, Any]) -> Floats:
        weights = self._arrays.get(node.input[1])
        plain = attributes.get("transA", 0) == 0 and attributes.get("alpha", 1.0) == attributes.get("beta", 1.0) == 1.0
        if weights is None or weights.ndim != 2 or weights.dtype != np.float32 or not plain:
            raise self._refusal(f"a product {node.output[0]!r} with weights that are not plain")
        return weights if attributes.get("transB", 0) else weights.T

    def _becomes_rows(self, part: Value) -> bool:
        """Whether products with these values are added up crossing by crossing; all of them have one operand."""
        if part.origin is not Origin.ENTERED or part.size != self._features.size or part.at not in self._made:
            return False
        if self._entered is None:
            self._entered = part.at
        return part.at == self._entered

    def _add_sums(self, block: Floats) -> int:
        at = self._sums.ctypes.data + 4 * self._n_sums
        self._blocks.append(block.T)
        self._n_sums += len(block)
        return at

    def _multiply(self, phase: Phase, target: Value, part: Value, block: Floats) -> None:
        m = len(block)
        op, stored = (Op.DOTS, block) if m < FEW else (Op.COLUMNS, block.T)
        weights = self._hold_array(np.ascontiguousarray(stored))
        room = self._room(LANES)
        self._emit(phase, op, target.at, part.at, weights.ctypes.data, room.ctypes.data, part.size, m)

    def _move_states(self) -> None:
        """Copy what the next step finds in each state; by way of other room where a copy could overwrite a source."""
        phase = Phase.AFTER
        spans = {name: (b.ctypes.data, b.ctypes.data + b.nbytes) for name, b in self._states.items()}
        moves: list[tuple[Value | Joined, Floats]] = []
        for spec in self._manifest.outputs_of("state"):
            value, buffer = self._values[spec.name], self._states[spec.feeds]
            at = buffer.ctypes.data
            safe = True
            for part in value.parts:
                for low, high in spans.values():
                    inside = low <= part.at < high
                    safe &= not inside or (low == buffer.ctypes.data and part.at >= at)
                at += 4 * part.size
            if not safe:
                room = self._room(value.size)
                self._copy(value, room, phase)
                value = Value(value.shape, room.ctypes.data, Origin.ELSE)
            moves.append((value, buffer.reshape(-1)))
        for value, buffer in moves:
            self._copy(value, buffer, phase)


def _needed(model: onnx.ModelProto, manifest: Manifest) -> set[str]:
    """Every tensor that an output, other than a state, depends on."""
    needed = {spec.name for spec in manifest.outputs if spec.role != "state"}
    for node in reversed(model.graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
    return needed


def _steps(shape: tuple[int, ...], wide: tuple[int, ...]) -> list[int]:
    """From entry to entry along each axis of the broadcast shape, 0 where the value is repeated."""
    padded = (1,) * (len(wide) - len(shape)) + shape
    steps, step = [], 1
    for length in reversed(padded):
        steps.append(step if length > 1 else 0)
        step *= length
    return steps[::-1]
