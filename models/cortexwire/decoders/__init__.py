"""What serving needs of a model: bundle, overlay, runtime session."""

from cortexwire.decoders.bundle import Bundle, load_bundle, write_bundle
from cortexwire.decoders.contract import Decoder
from cortexwire.decoders.executors import EXECUTORS, ExecutorName, make_decoder
from cortexwire.decoders.manifest import Manifest, StreamSpec, stream_mismatches
from cortexwire.decoders.onnx_decoder import OnnxDecoder
from cortexwire.decoders.overlay import Overlay, load_overlay, make_overlay, write_overlay

__all__ = [
    "EXECUTORS",
    "Bundle",
    "Decoder",
    "ExecutorName",
    "Manifest",
    "OnnxDecoder",
    "Overlay",
    "StreamSpec",
    "load_bundle",
    "load_overlay",
    "make_decoder",
    "make_overlay",
    "stream_mismatches",
    "write_bundle",
    "write_overlay",
]
