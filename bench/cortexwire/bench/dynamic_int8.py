"""A bundle's step with whole numbers in its products: weights as int8, and what they are multiplied with rounded too.

Weights alone as int8 (`cortexwire.training.quantise`) are a quarter of the bytes, but become float32 again before each
product. Here ONNX Runtime rounds each product's other operand at every step, so that the product itself is one of
whole numbers. The read-out stays float32.
"""

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

from cortexwire.bench.batched_step import BatchedStep
from cortexwire.decoders import Bundle
from cortexwire.decoders.graph import parse_graph
from cortexwire.types import Features


def dynamic_int8_step(bundle: Bundle) -> Callable[[Features], Any]:
    """Make the step of one stream."""
    wide = BatchedStep(bundle, 1, dynamic_int8(bundle))

    def step(features: Features) -> Any:
        wide.features[0] = features
        return {name: values[0] for name, values in wide.step().items()}

    return step


def dynamic_int8(bundle: Bundle) -> bytes:
    """The graph of a bundle with every product but those of its parameters rounded."""
    model = parse_graph(bundle.model, str(bundle.path))
    parameters = {spec.name for spec in bundle.manifest.inputs_of("parameter")}
    kept = []
    for number, node in enumerate(model.graph.node):
        node.name = f"node{number}"
        if parameters.intersection(node.input):
            kept += [node.name, f"{node.name}_MatMul"]  # the name after a Gemm was taken apart
    with tempfile.TemporaryDirectory(prefix="cxw-") as folder:
        given, made = Path(folder) / "given.onnx", Path(folder) / "made.onnx"
        onnx.save(model, given)
        disabled = logging.root.manager.disable
        logging.disable(logging.WARNING)  # it recommends a step that is for images
        try:
            quantize_dynamic(
                given, made, op_types_to_quantize=["MatMul"], nodes_to_exclude=kept, weight_type=QuantType.QInt8,
                per_channel=True,
            )  # fmt: skip
        finally:
            logging.disable(disabled)
        return made.read_bytes()
