"""Decoding many variants of one recording side by side, by the graph that is served.

Robustness asks for the same bins again and again, each time with something else amiss. The graph has a batch axis of
one in front of everything but its parameters; widened to `LANES`, one run makes a step of as many variants. A graph
that cannot be widened, or that then says something else, is stepped through once for each variant instead: that is
slower, and gives the same.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from cortexwire.decoders.bundle import Bundle
from cortexwire.decoders.onnx_decoder import OnnxDecoder
from cortexwire.decoders.overlay import Overlay
from cortexwire.decoders.runtime_session import open_session
from cortexwire.types import Features

LANES: Final = 16
_TOLERANCE: Final = 1e-4
_TRIED: Final = 8

State = Mapping[str, NDArray[Any]]
Decoded = NDArray[np.float64]
"""What is decoded, `(n_bins, n_columns)`."""


class Lanes:
    """Decodes with one bundle.

    Args:
        bundle: The decoder.
        overlay: Values of the day.

    Attributes:
        side_by_side: Whether the graph could be widened.
    """

    def __init__(self, bundle: Bundle, overlay: Overlay | None = None) -> None:
        self._bundle = bundle
        self._decoder = OnnxDecoder(bundle, "cpu", overlay)
        self._parameters = {} if overlay is None else dict(overlay.parameters)
        self._wide = _widened(bundle, LANES)
        self.side_by_side = self._wide is not None and self._agrees()

    @property
    def feature_mean(self) -> NDArray[np.float32]:
        """What a channel without data enters at, `(n_features,)`."""
        return self._decoder.feature_mean

    def run(self, features: Features, state: State | None = None) -> tuple[Decoded, dict[str, NDArray[Any]]]:
        """Decode one sequence as the engine does.

        Args:
            features: float32 `(n_bins, n_features)`.
            state: What to start from; fresh when None.

        Returns:
            What is decoded, and the state after it.
        """
        self._decoder.reset()
        if state is not None:
            self._decoder.set_state(state)
        name = self._bundle.manifest.velocity.name
        decoded = np.array([self._decoder.step(row)[name] for row in features], np.float64)
        return decoded.reshape(len(features), *self._bundle.manifest.velocity.shape), self._decoder.state()

    def run_all(self, variants: Iterable[Features], state: State | None = None) -> Iterator[Decoded]:
        """Decode variants of a sequence, each from the same state.

        Args:
            variants: float32 `(n_bins, n_features)` each, all of one length; read `LANES` at a time.
            state: What each starts from; fresh when None.

        Yields:
            What is decoded of each, in order.
        """
        if not self.side_by_side:
            for variant in variants:
                yield self.run(variant, state)[0]
            return
        remaining = iter(variants)
        while group := list(islice(remaining, LANES)):
            yield from self._together(group, state)

    def _together(self, group: Sequence[Features], state: State | None) -> list[Decoded]:
        assert self._wide is not None
        manifest, n_bins = self._bundle.manifest, len(group[0])
        stacked = np.zeros((n_bins, LANES, manifest.n_features), np.float32)
        for lane, variant in enumerate(group):
            stacked[:, lane] = variant
        feeds: dict[str, NDArray[Any]] = dict(self._parameters)
        for spec in manifest.inputs_of("state"):
            value = np.zeros(spec.shape, spec.dtype) if state is None else state[spec.name]
            feeds[spec.name] = np.broadcast_to(value, (LANES, *spec.shape)).copy()
        carried = {spec.name: spec.feeds for spec in manifest.outputs_of("state")}
        decoded = np.empty((n_bins, LANES, *manifest.velocity.shape))
        wanted = [manifest.velocity.name, *carried]
        for k, rows in enumerate(stacked):
            came = self._wide.run(wanted, {manifest.features.name: rows, **feeds})
            decoded[k] = came[0]
            feeds |= {carried[name]: value for name, value in zip(wanted[1:], came[1:], strict=True)}
        return [decoded[:, lane] for lane in range(len(group))]

    def _agrees(self) -> bool:
        """Whether lanes say what single steps say, each of them of its own variant."""
        manifest = self._bundle.manifest
        noise = np.random.default_rng(0).normal(size=(LANES, _TRIED, manifest.n_features)).astype(np.float32)
        mean = self.feature_mean
        variants = mean + self._bundle.parameters.get("feature_scale", np.ones_like(mean)) * noise
        alone = np.stack([self.run(variant)[0] for variant in variants[:3]])
        try:
            together = np.stack(self._together(list(variants), None)[:3])
        except (*_FAULTS, ValueError):
            return False
        return bool(np.abs(together - alone).max() <= _TOLERANCE * max(np.abs(alone).max(), 1e-9))


_FAULTS: Final = (
    onnxruntime.capi.onnxruntime_pybind11_state.Fail,
    onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument,
    onnxruntime.capi.onnxruntime_pybind11_state.InvalidGraph,
    onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException,
)
"""What ONNX Runtime raises at a graph whose operations do not fit the wider batch."""


def _widened(bundle: Bundle, lanes: int) -> Any:
    """A session on the graph with `lanes` in place of the batch of one; None where it cannot be opened."""
    model = onnx.load_model_from_string(bundle.model)
    parameters = {spec.name for spec in bundle.manifest.inputs_of("parameter")}
    for info in (*model.graph.input, *model.graph.output):
        if info.name not in parameters:
            info.type.tensor_type.shape.dim[0].dim_value = lanes
    del model.graph.value_info[:]
    try:
        return open_session(model.SerializeToString(), "cpu")[0]
    except _FAULTS:
        return None
