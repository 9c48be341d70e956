"""Opening an ONNX Runtime session so that what was asked for is what runs.

One thread without spinning: a decoder step lasts microseconds and the packets need the cores. ONNX Runtime
falls back to another provider silently; here the one obtained is compared with the one requested.
"""

from typing import Any, Literal

import onnxruntime

from cortexwire.errors import ConfigError

Provider = Literal["auto", "cpu", "cuda"]

_NAMES = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


def open_session(model: bytes, provider: Provider) -> tuple[Any, str]:
    """Open a session on a serialised model.

    Args:
        model: Bytes of a verified graph.
        provider: `auto` takes CUDA where it works, else the CPU.

    Returns:
        The `InferenceSession` and the provider obtained, `cpu` or `cuda`.

    Raises:
        ConfigError: The provider is unknown, or CUDA was asked for and is not there.
    """
    if provider not in ("auto", *_NAMES):
        raise ConfigError(f"provider: expected auto, cpu or cuda, got {provider!r}")
    available = onnxruntime.get_available_providers()
    wants_cuda = provider == "cuda" or (provider == "auto" and _NAMES["cuda"] in available)
    if wants_cuda and _NAMES["cuda"] not in available:
        raise ConfigError(
            f"provider cuda: expected an ONNX Runtime with CUDA, got one with {', '.join(available)}; "
            "install onnxruntime-gpu in place of onnxruntime, or choose cpu"
        )
    names = [_NAMES["cuda"], _NAMES["cpu"]] if wants_cuda else [_NAMES["cpu"]]
    session = onnxruntime.InferenceSession(model, _options(), providers=names)
    obtained = "cuda" if _NAMES["cuda"] in session.get_providers() else "cpu"
    if provider == "cuda" and obtained != "cuda":
        raise ConfigError("provider cuda: expected a working CUDA device, got a session on the CPU")
    return session, obtained


def _options() -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # overridable initializers are meant here, and warned about otherwise
    return options
