"""Which executor decodes: chosen by one word, the same for live and offline."""

from typing import Final, Literal

from cortexwire.decoders.bundle import Bundle
from cortexwire.decoders.contract import Decoder
from cortexwire.decoders.onnx_decoder import OnnxDecoder
from cortexwire.decoders.overlay import Overlay
from cortexwire.decoders.runtime_session import Provider
from cortexwire.errors import ConfigError

ExecutorName = Literal["onnx", "incremental"]
EXECUTORS: Final[tuple[ExecutorName, ...]] = ("onnx", "incremental")


def make_decoder(
    bundle: Bundle, executor: ExecutorName = "onnx", provider: Provider = "auto", overlay: Overlay | None = None
) -> Decoder:
    """Make the decoder of a bundle.

    Args:
        bundle: A verified bundle.
        executor: `onnx` runs the whole step in ONNX Runtime; `incremental` computes ahead what it can, on the CPU.
        provider: Where it computes: `auto`, `cpu` or `cuda`.
        overlay: Values to start with.

    Raises:
        BundleError: The executor cannot run the bundle, or the overlay is not its own.
        ConfigError: Executor and provider do not go together, or the provider is not there.
    """
    if executor == "onnx":
        return OnnxDecoder(bundle, provider, overlay)
    if provider == "cuda":
        raise ConfigError("executor incremental: expected provider auto or cpu, got cuda")
    from cortexwire.decoders.incremental import IncrementalDecoder  # compiles, or loads what was compiled

    return IncrementalDecoder(bundle, overlay)
