"""The fingerprint: what has to be equal for outputs to be equal bit for bit."""

import platform

import numpy as np
import onnxruntime


def fingerprint(executor: str, provider: str) -> str:
    """Name executor, provider, library versions and the instruction sets that kernels are chosen by."""
    simd = np.show_config(mode="dicts")["SIMD Extensions"]
    parts = {
        "executor": executor,
        "provider": provider,
        "onnxruntime": onnxruntime.__version__,
        "numpy": np.__version__,
        "machine": platform.machine(),
        "cpu": "+".join([*simd.get("baseline", []), *simd.get("found", [])]),
    }
    return " ".join(f"{key}={value}" for key, value in parts.items())
