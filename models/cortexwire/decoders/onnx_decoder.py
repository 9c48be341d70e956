"""The whole ONNX step as an executor: every buffer bound once, the state in two buffers that swap roles.

A step copies the features in, runs a binding that was made beforehand, and copies the outputs out. The state
never moves: what one step writes is what the next one reads. An overlay becomes a second pair of bindings, so
it takes effect by one assignment, between two steps, and the former pair is kept for a rollback.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cortexwire.decoders.bundle import Bundle
from cortexwire.decoders.contract import State
from cortexwire.decoders.fingerprint import fingerprint
from cortexwire.decoders.graph import Parameters
from cortexwire.decoders.overlay import Overlay
from cortexwire.decoders.runtime_session import Provider, open_session
from cortexwire.decoders.servable import check_servable, check_state
from cortexwire.decoders.tensor import Tensor
from cortexwire.errors import BundleError
from cortexwire.types import Features


@dataclass(frozen=True, eq=False)
class _Wiring:
    """All that an overlay decides: the values in force, their buffers, and the two bindings that use them."""

    overlay: Overlay | None
    parameters: Parameters
    buffers: tuple[Tensor, ...]
    bindings: tuple[Any, Any]


class OnnxDecoder:
    """Decodes one stream with a bundle's graph in ONNX Runtime; see `Decoder` for the contract.

    Non-finite features are not looked for: they come out as non-finite outputs, which the pipeline handles.

    Args:
        bundle: A verified bundle whose only signal input is `features`.
        provider: `auto`, `cpu` or `cuda`.
        overlay: Values to start with.

    Raises:
        BundleError: The bundle asks for inputs that this version does not serve, or the overlay is not its
            own.
        ConfigError: The provider is not there.
    """

    executor: Final = "onnx"

    def __init__(self, bundle: Bundle, provider: Provider = "auto", overlay: Overlay | None = None) -> None:
        check_servable(bundle)
        self.bundle: Final = bundle
        self._session, self.provider = open_session(bundle.model, provider)
        self.fingerprint: Final = fingerprint(self.executor, self.provider)
        manifest = bundle.manifest
        self.n_features: Final = manifest.n_features
        self._features = Tensor((1, self.n_features), np.float32, self.provider)
        self._row = self._features.host[0]
        self._states = (self._state_buffers(), self._state_buffers())
        self._outputs = {
            spec.name: Tensor((1, *spec.shape), spec.dtype, "cpu") for spec in manifest.outputs if spec.role != "state"
        }
        self._results = tuple((name, tensor.host[0]) for name, tensor in self._outputs.items())
        self._phase = 0
        self._wiring = self._wire(overlay)
        self._previous: _Wiring | None = None

    @property
    def overlay(self) -> Overlay | None:
        """The overlay in force; None means the bundle's defaults."""
        return self._wiring.overlay

    @property
    def feature_mean(self) -> NDArray[np.float32]:
        """Training mean now in force `(n_features,)`, read-only."""
        return self._wiring.parameters["feature_mean"]

    def step(self, features: Features) -> dict[str, NDArray[Any]]:
        """Decode one bin and advance the state.

        Args:
            features: float32 `(n_features,)`.

        Returns:
            A fresh array for each output that is not a state, by name, with the manifest's shape.

        Raises:
            ValueError: The features have another shape.
        """
        if features.shape != self._row.shape:
            raise ValueError(f"features: expected shape {self._row.shape}, got {features.shape}")
        self._row[:] = features
        self._features.push()
        self._session.run_with_iobinding(self._wiring.bindings[self._phase])
        self._phase ^= 1
        return {name: view.copy() for name, view in self._results}

    def reset(self) -> None:
        """Set every state to zero; the overlay stays in force."""
        for tensor in self._states[self._phase].values():
            tensor.host.fill(0)
            tensor.push()

    def state(self) -> dict[str, NDArray[Any]]:
        """Return a copy of every state, with the manifest's shapes."""
        copies = {}
        for name, tensor in self._states[self._phase].items():
            tensor.pull()
            copies[name] = tensor.host[0].copy()
        return copies

    def set_state(self, state: State) -> None:
        """Continue from a state that `state` gave.

        Raises:
            ValueError: A name or shape differs; the decoder is then as it was.
        """
        current = self._states[self._phase]
        check_state({name: tensor.host.shape[1:] for name, tensor in current.items()}, state)
        for name, tensor in current.items():
            tensor.host[0] = state[name]
            tensor.push()

    def prepare(self, overlay: Overlay) -> None:
        """Nothing to do: new bindings take about a millisecond."""

    def apply(self, overlay: Overlay | None) -> None:
        """Put an overlay (None: the bundle's defaults) in force from the next step on; the state stays.

        Raises:
            BundleError: The overlay belongs to another bundle; nothing has changed then.
        """
        self._previous, self._wiring = self._wiring, self._wire(overlay)

    def rollback(self) -> None:
        """Undo the last `apply`.

        Raises:
            BundleError: There is nothing to go back to.
        """
        if self._previous is None:
            raise BundleError("rollback: expected an overlay applied before, got none")
        self._wiring, self._previous = self._previous, None

    def warm_up(self, runs: int = 1) -> None:
        """Run throw-away steps: what they write is what the next real step overwrites."""
        for _ in range(runs):
            self._session.run_with_iobinding(self._wiring.bindings[self._phase])

    def settle(self) -> None:
        """Nothing is ever put off here."""

    def _state_buffers(self) -> dict[str, Tensor]:
        return {
            spec.name: Tensor((1, *spec.shape), spec.dtype, self.provider)
            for spec in self.bundle.manifest.inputs_of("state")
        }

    def _wire(self, overlay: Overlay | None) -> _Wiring:
        if overlay is not None and overlay.bundle_sha256 != self.bundle.sha256:
            raise BundleError(
                f"overlay: expected one of bundle {self.bundle.sha256}, got one of {overlay.bundle_sha256}"
            )
        values = {**self.bundle.parameters, **(overlay.parameters if overlay else {})}
        buffers = {name: self._loaded(value) for name, value in values.items()}
        first, second = self._states
        bindings = (self._bind(buffers, first, second), self._bind(buffers, second, first))
        return _Wiring(overlay, values, tuple(buffers.values()), bindings)

    def _loaded(self, value: NDArray[np.float32]) -> Tensor:
        tensor = Tensor(value.shape, value.dtype, self.provider)
        np.copyto(tensor.host, value)
        tensor.push()
        return tensor

    def _bind(self, parameters: Mapping[str, Tensor], now: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> Any:
        manifest = self.bundle.manifest
        binding = self._session.io_binding()
        for name, tensor in {manifest.features.name: self._features, **parameters, **now}.items():
            binding.bind_ortvalue_input(name, tensor.value)
        for spec in manifest.outputs:
            tensor = after[spec.feeds] if spec.role == "state" else self._outputs[spec.name]
            binding.bind_ortvalue_output(spec.name, tensor.value)
        return binding
