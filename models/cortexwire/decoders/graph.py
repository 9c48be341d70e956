"""What a bundle's graph must look like: self-contained, with exactly the tensors that its manifest lists.

Parameters are graph inputs with a default initializer of the same name, so that an overlay replaces a value
by binding another one and the file never changes.
"""

import hashlib
from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from numpy.typing import NDArray

from cortexwire.decoders.manifest import InputSpec, Manifest, OutputSpec
from cortexwire.errors import BundleError

Parameters = Mapping[str, NDArray[np.float32]]
"""Parameter values by name."""


def digest(array: NDArray[np.float32]) -> str:
    """Return the SHA-256 of an array's little-endian, C-ordered bytes."""
    return hashlib.sha256(np.ascontiguousarray(array, dtype="<f4").tobytes()).hexdigest()


def parse_graph(data: bytes, where: str) -> onnx.ModelProto:
    """Read the bytes of a model.

    Raises:
        BundleError: The bytes are no ONNX model, or the model keeps tensors in other files.
    """
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf raises classes of its own, without a common base
        raise BundleError(f"{where}: expected an ONNX model: {error}") from error
    check_self_contained(model, where)
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise BundleError(f"{where}: expected a valid ONNX model: {error}") from error
    return model


def check_self_contained(model: onnx.ModelProto, where: str) -> None:
    """Refuse a model that would make its reader open other files.

    Raises:
        BundleError: A tensor names a file that it lies in.
    """
    nodes = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    tensors = [*_stored(model.graph), *(t for node in nodes for t in _attached(node))]
    outside = [t.name for t in tensors if t.data_location == onnx.TensorProto.EXTERNAL]
    if outside:
        raise BundleError(f"{where}: expected every tensor inside the file, got external data for {outside}")


def default_parameters(model: onnx.ModelProto, manifest: Manifest) -> dict[str, NDArray[np.float32]]:
    """Return the default value of every parameter that the graph holds, float32 and read-only."""
    wanted = {spec.name for spec in manifest.inputs_of("parameter")}
    found = {}
    for tensor in model.graph.initializer:
        if tensor.name in wanted:
            value = np.array(onnx.numpy_helper.to_array(tensor), dtype=np.float32, order="C")
            value.flags.writeable = False
            found[tensor.name] = value
    return found


def check_graph(model: onnx.ModelProto, manifest: Manifest, where: str) -> None:
    """Compare the graph's inputs, outputs and defaults with the manifest.

    Raises:
        BundleError: Something differs; the message lists all of it.
    """
    problems = [
        *_differences("input", manifest.inputs, model.graph.input),
        *_differences("output", manifest.outputs, model.graph.output),
        *_parameter_faults(model, manifest),
    ]
    if problems:
        raise BundleError(f"{where}: " + "; ".join(problems))


def _stored(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)


def _attached(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    for attribute in node.attribute:
        yield from (attribute.t, *attribute.tensors)
        for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
            yield from (sparse.values, sparse.indices)
        for graph in (attribute.g, *attribute.graphs):
            yield from _stored(graph)
            yield from (tensor for inner in graph.node for tensor in _attached(inner))


def value_faults(name: str, value: NDArray[np.float32]) -> Iterator[str]:
    """Yield a sentence where a parameter's values cannot be used."""
    if not np.isfinite(value).all():
        yield f"parameter {name}: expected finite values"
    elif name == "feature_scale" and not (value > 0).all():
        yield f"parameter {name}: expected values above zero, got {value.min()}"


def _differences(
    side: str, specs: tuple[InputSpec, ...] | tuple[OutputSpec, ...], infos: Iterator[onnx.ValueInfoProto]
) -> Iterator[str]:
    came = {info.name: _describe(info) for info in infos}
    want = {spec.name: _expected(spec) for spec in specs}
    for name in sorted(want.keys() | came.keys()):
        if want.get(name) != came.get(name):
            yield f"{side} {name}: expected {want.get(name, 'none')}, got {came.get(name, 'none')}"


def _expected(spec: InputSpec | OutputSpec) -> str:
    shape = spec.shape if spec.role == "parameter" else (1, *spec.shape)
    return f"{spec.dtype} {list(shape)}"


def _describe(info: onnx.ValueInfoProto) -> str:
    tensor = info.type.tensor_type
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name if tensor.elem_type else "unknown"
    shape = [d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in tensor.shape.dim]
    return f"{dtype} {shape}"


def _parameter_faults(model: onnx.ModelProto, manifest: Manifest) -> Iterator[str]:
    defaults = default_parameters(model, manifest)
    for spec in manifest.inputs_of("parameter"):
        value = defaults.get(spec.name)
        if value is None:
            yield f"parameter {spec.name}: expected a default value in the graph, got none"
        elif digest(value) != spec.sha256:
            yield f"parameter {spec.name}: expected a default of sha256 {spec.sha256}, got {digest(value)}"
        else:
            yield from value_faults(spec.name, value)
    signals = {spec.name for spec in manifest.inputs if spec.role != "parameter"}
    for name in sorted(signals & {tensor.name for tensor in model.graph.initializer}):
        yield f"input {name}: expected no default value, got one"
