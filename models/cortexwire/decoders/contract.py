"""What the pipeline may ask of any executor of a bundle."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from cortexwire.decoders.bundle import Bundle
from cortexwire.decoders.overlay import Overlay
from cortexwire.types import Counts, Features

State = Mapping[str, NDArray[Any]]
"""A decoder's whole memory: one array per state input of the graph."""


class Decoder(Protocol):
    """One stream's decoder: step by step, with its state inside and nothing else remembered.

    The same bundle, overlay, state and features give the same bits within one `fingerprint`.
    """

    @property
    def bundle(self) -> Bundle:
        """The bundle that is decoded."""

    @property
    def overlay(self) -> Overlay | None:
        """The overlay in force; None means the bundle's defaults."""

    @property
    def n_features(self) -> int:
        """Length of a feature vector."""

    @property
    def feature_mean(self) -> NDArray[np.float32]:
        """Training mean now in force `(n_features,)`, read-only: what a channel without data enters at."""

    @property
    def provider(self) -> str:
        """Where it computes: `cpu` or `cuda`."""

    @property
    def executor(self) -> str:
        """Which executor this is."""

    @property
    def fingerprint(self) -> str:
        """Everything that bit-identity is promised within."""

    def step(self, features: Features) -> dict[str, NDArray[Any]]:
        """Decode one bin and advance the state.

        Args:
            features: float32 `(n_features,)`.

        Returns:
            A fresh array for each output that is not a state, by name.
        """

    def reset(self) -> None:
        """Forget everything, as if new; the overlay stays in force."""

    def state(self) -> dict[str, NDArray[Any]]:
        """Return a copy of the state."""

    def set_state(self, state: State) -> None:
        """Continue from a state that `state` gave."""

    def prepare(self, overlay: Overlay) -> None:
        """Do ahead what `apply` of this overlay takes; the one method that any thread may call."""

    def apply(self, overlay: Overlay | None) -> None:
        """Put an overlay (or the defaults) in force from the next step on; the state stays."""

    def rollback(self) -> None:
        """Undo the last `apply`; possible once for each `apply`."""

    def warm_up(self, runs: int = 1) -> None:
        """Run throw-away steps that change nothing."""

    def settle(self) -> None:
        """Do what was put off until the outputs are out; it happens by itself where nobody asks for it."""


@runtime_checkable
class CountingDecoder(Decoder, Protocol):
    """A decoder that can add up crossings while their bin is open."""

    def listen(self, n_kept: int, crossings: int, most: int) -> None:
        """Learn where the crossings of the open bin lie: addresses of their number (int64) and of the crossings.

        Args:
            n_kept: Address of their number.
            crossings: Address of the crossings, pairs of int32: sample within the bin, channel.
            most: How many there can be.
        """

    def follow(self) -> None:
        """Add the crossings that were kept since the last call."""

    def discard(self) -> None:
        """The open bin was closed, and is not decoded."""

    def step_counts(self, counts: Counts, status: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """Decode one whole bin whose crossings were followed.

        Args:
            counts: Its counts, uint16 `(n_features,)`.
            status: Flags, uint8 `(n_features,)`: a channel with any of them enters at its training mean.

        Returns:
            As `step`.
        """
