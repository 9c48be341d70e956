"""The step of a bundle for several sessions at once, bound like the step of one: buffers fixed, states that swap."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cortexwire.decoders import Bundle
from cortexwire.decoders.runtime_session import open_session
from cortexwire.decoders.tensor import Tensor
from cortexwire.training.batched import with_batch


class BatchedStep:
    """Decodes one bin of each of `batch` sessions in one run of ONNX Runtime.

    Args:
        bundle: The decoder.
        batch: Sessions.
        model: Another graph of the same features, states and outputs to run in place of the bundle's; a parameter that
            is no input of it stays as it is there.

    Attributes:
        features: What the next step reads, float32 `(batch, n_features)`, written in place.
    """

    def __init__(self, bundle: Bundle, batch: int, model: bytes | None = None) -> None:
        self._session, device = open_session(model or with_batch(bundle, batch).SerializeToString(), "cpu")
        manifest = bundle.manifest
        inputs = Tensor((batch, manifest.n_features), np.float32, device)
        self.features: NDArray[np.float32] = inputs.host
        self._states = [
            {spec.name: Tensor((batch, *spec.shape), spec.dtype, device) for spec in manifest.inputs_of("state")}
            for _ in range(2)
        ]
        self._outputs = {
            spec.name: Tensor((batch, *spec.shape), spec.dtype, device)
            for spec in manifest.outputs
            if spec.role != "state"
        }
        taken = {node.name for node in self._session.get_overridable_initializers()}
        self._parameters = {name: _loaded(value, device) for name, value in bundle.parameters.items() if name in taken}
        self._kept = inputs
        self._bindings = [self._bind(bundle, inputs, phase) for phase in (0, 1)]
        self._phase = 0

    def step(self) -> dict[str, NDArray[Any]]:
        """Decode `features` and advance every session's state; a copy of each output, `(batch, *shape)`."""
        self._session.run_with_iobinding(self._bindings[self._phase])
        self._phase ^= 1
        return {name: tensor.host.copy() for name, tensor in self._outputs.items()}

    def _bind(self, bundle: Bundle, inputs: Tensor, phase: int) -> Any:
        manifest, now, after = bundle.manifest, self._states[phase], self._states[1 - phase]
        binding = self._session.io_binding()
        for name, tensor in {manifest.features.name: inputs, **self._parameters, **now}.items():
            binding.bind_ortvalue_input(name, tensor.value)
        for spec in manifest.outputs:
            tensor = after[spec.feeds] if spec.role == "state" else self._outputs[spec.name]
            binding.bind_ortvalue_output(spec.name, tensor.value)
        return binding


def _loaded(value: NDArray[np.float32], device: str) -> Tensor:
    tensor = Tensor(value.shape, value.dtype, device)
    np.copyto(tensor.host, value)
    return tensor
