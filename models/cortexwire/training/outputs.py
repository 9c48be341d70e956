"""Which named columns a decoder gives, and by which outputs: the two of a velocity apart, all others together.

A family fits one vector and calls it `velocity`. What its entries mean is decided here: they are cut out of it, in the
graph and in what the reference decodes alike.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from cortexwire.decoders.manifest import OutputSpec
from cortexwire.errors import ConfigError
from cortexwire.training.contract import StepGraph

VECTOR: Final = "velocity"
"""What every family calls the vector that it decodes."""
_WHOLE: Final = "decoded"


@dataclass(frozen=True)
class NamedOutput:
    """One output of a bundle.

    Attributes:
        role: Also its name in the graph.
        columns: Names of its entries.
        start: Where they begin in the vector that was fitted.
        unit: Their unit; empty where they have several or none.
    """

    role: Literal["velocity", "columns"]
    columns: tuple[str, ...]
    start: int = 0
    unit: str = ""

    @property
    def entries(self) -> slice:
        """Its part of the vector."""
        return slice(self.start, self.start + len(self.columns))

    def spec(self, fitted: OutputSpec) -> OutputSpec:
        """Describe it, given the description of the vector."""
        return msgspec.structs.replace(
            fitted,
            name=self.role,
            role=self.role,
            columns=self.columns,
            shape=(len(self.columns),),
            unit=self.unit,
            safe_action="zero" if self.role == "velocity" else "hold",
        )


def plan(columns: Sequence[str], velocity: Sequence[str] | None = None) -> tuple[NamedOutput, ...]:
    """Divide columns into outputs, a velocity first.

    Args:
        columns: Everything to decode.
        velocity: The two of them that are the velocity; none if it is empty. Those named `...vx` and `...vy` if None.

    Raises:
        ConfigError: There is nothing to decode, a column is named twice, or the velocity is not two of them.
    """
    if not columns or len(set(columns)) != len(columns):
        raise ConfigError(f"columns: expected distinct names, got {list(columns)}")
    if velocity is None:
        likely = tuple(name for name in columns if name.endswith(("vx", "vy")))
        velocity = likely if len(likely) == 2 else ()
    missing = [name for name in velocity if name not in columns]
    if missing or len(set(velocity)) not in (0, 2) or len(set(velocity)) != len(velocity):
        raise ConfigError(f"velocity: expected two of {list(columns)}, got {list(velocity)}")
    others = tuple(name for name in columns if name not in velocity)
    planned = []
    if velocity:
        planned.append(NamedOutput("velocity", tuple(velocity)))
    if others:
        planned.append(NamedOutput("columns", others, start=len(velocity)))
    return tuple(planned)


def in_units(outputs: Sequence[NamedOutput], units: Mapping[str, str]) -> tuple[NamedOutput, ...]:
    """The same outputs, each with the unit that all its columns share."""
    found = []
    for output in outputs:
        stated = {units.get(name, "") for name in output.columns}
        found.append(replace(output, unit=stated.pop() if len(stated) == 1 else ""))
    return tuple(found)


def named(values: Mapping[str, NDArray[Any]], outputs: Sequence[NamedOutput]) -> dict[str, NDArray[Any]]:
    """Cut the vector that a reference decodes, `(n_bins, n_columns)`, into outputs; whole where there are none."""
    if not outputs:
        return dict(values)
    others = {name: value for name, value in values.items() if name != VECTOR}
    return {**{output.role: values[VECTOR][:, output.entries] for output in outputs}, **others}


def labelled(step: StepGraph, outputs: Sequence[NamedOutput]) -> StepGraph:
    """The same step with its vector cut into outputs; as it is where there are none."""
    if not outputs:
        return step
    model = onnx.ModelProto()
    model.CopyFrom(step.model)
    fitted = next(spec for spec in step.outputs if spec.name == VECTOR)
    specs = [output.spec(fitted) for output in outputs]
    if [spec.name for spec in specs] != [VECTOR]:
        whole = _WHOLE if len(specs) > 1 else specs[0].name
        _rename(model.graph, VECTOR, whole)
        for output in outputs if len(specs) > 1 else ():
            _cut(model.graph, whole, output)
        infos = [helper.make_tensor_value_info(spec.name, onnx.TensorProto.FLOAT, (1, *spec.shape)) for spec in specs]
        kept = [info for info in model.graph.output if info.name != VECTOR]
        del model.graph.output[:]
        model.graph.output.extend([*infos, *kept])
    return StepGraph(model, step.inputs, (*specs, *(spec for spec in step.outputs if spec.name != VECTOR)))


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            for k in _places(names, old):
                names[k] = new


def _places(names: Sequence[str], name: str) -> Iterator[int]:
    yield from (k for k, found in enumerate(names) if found == name)


def _cut(graph: onnx.GraphProto, whole: str, output: NamedOutput) -> None:
    edges = {"start": output.entries.start, "stop": output.entries.stop, "axis": 1}
    names = [f"{output.role}_{edge}" for edge in edges]
    for name, value in zip(names, edges.values(), strict=True):
        graph.initializer.append(numpy_helper.from_array(np.array([value], np.int64), name))
    graph.node.append(helper.make_node("Slice", [whole, *names], [output.role]))
