"""What a decoder family is: settings, a fit, and the step that the fit exports.

One file under `families/` holds one family and ends in a `FAMILY`; nothing else needs to know it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray

from cortexwire.decoders.manifest import InputSpec, OutputSpec
from cortexwire.errors import ConfigError
from cortexwire.training.data import TrainingData
from cortexwire.types import Features


@dataclass(frozen=True, eq=False)
class StepGraph:
    """A single step as a graph, with what the manifest says about its tensors.

    Every tensor but a parameter has a batch axis of 1 in front of the shape in its spec.
    """

    model: onnx.ModelProto
    inputs: tuple[InputSpec, ...]
    outputs: tuple[OutputSpec, ...]


class Fitted(Protocol):
    """A fitted decoder: its reference in numpy (or torch), and its export."""

    @property
    def memory_bins(self) -> int:
        """Bins that an output depends on, its own included."""

    @property
    def warm_up_bins(self) -> int:
        """Outputs after a reset that lack history."""

    @property
    def summary(self) -> Mapping[str, Any]:
        """What was chosen in fitting, as plain values for the manifest and the model card."""

    def predict(self, features: Features, segments: tuple[int, ...] = (0,)) -> dict[str, NDArray[Any]]:
        """Decode a whole sequence, starting from nothing at each segment: the reference of the graph.

        Args:
            features: float32 `(n_bins, n_features)`.
            segments: First bin of each segment.

        Returns:
            Each output that is not a state, `(n_bins, *shape)`, by its name in the graph.
        """

    def graph(self, features: InputSpec, unit: str) -> StepGraph:
        """Export one step.

        Args:
            features: The input to read, as the manifest will list it.
            unit: The unit of the targets that were fitted.
        """


class Trace(NamedTuple):
    """A run of a reference, opened up.

    Attributes:
        outputs: What `predict` gives.
        states: By the name of the graph's state input, `(n_bins, *shape)`: what each step started from.
    """

    outputs: dict[str, NDArray[Any]]
    states: dict[str, NDArray[Any]]


@runtime_checkable
class Traceable(Fitted, Protocol):
    """A fitted decoder whose graph can be compared step by step, each from the reference's own state."""

    @property
    def contracting(self) -> bool:
        """Whether a small difference in state dies out; if not, graph and reference part when left alone."""

    def trace(self, features: Features) -> Trace:
        """Decode one segment, float32 `(n_bins, n_features)`, and tell the states."""


SettingsT = TypeVar("SettingsT", bound=msgspec.Struct)


@dataclass(frozen=True)
class Family(Generic[SettingsT]):
    """A way to make decoders.

    Attributes:
        name: What users call it.
        settings: The settings and their defaults, one struct that forbids unknown fields.
        fit: Fits with settings that `check` gave; a seed among them makes it repeatable.
    """

    name: str
    settings: type[SettingsT]
    fit: Callable[[TrainingData, SettingsT], Fitted]

    def check(self, values: Mapping[str, Any]) -> SettingsT:
        """Return settings given by name; what is not given has its default, and numbers may come as text.

        Raises:
            ConfigError: A setting is unknown or unusable.
        """
        try:
            return msgspec.convert(dict(values), self.settings, strict=False)
        except msgspec.ValidationError as error:
            raise ConfigError(f"{self.name}: {error}") from error


def normalisation(features: Features, usable: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean and scale `(n_features,)` over the usable bins; a feature that never varies has scale 1."""
    rows = features[usable]
    mean = rows.mean(axis=0, dtype=np.float64)
    scale = rows.std(axis=0, dtype=np.float64)
    scale[scale <= 1e-6 * np.maximum(np.abs(mean), 1e-6)] = 1
    return mean.astype(np.float32), scale.astype(np.float32)
