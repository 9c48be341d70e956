"""One decoder for several states that take turns, each with a past of its own.

Weights, buffers and overlays are shared: an overlay comes into force for all of them at once. The state that is not in
turn waits as a copy, so a state goes through exactly the steps that it would go through alone.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cortexwire.decoders.bundle import Bundle
from cortexwire.decoders.contract import Decoder, State
from cortexwire.decoders.overlay import Overlay
from cortexwire.types import Features


class _Bank:
    """Keeps the states of those that are not in turn; None is a fresh one."""

    def __init__(self, decoder: Decoder, n_states: int) -> None:
        self.decoder = decoder
        self._kept: list[State | None] = [None] * n_states
        self._turn = 0

    def give(self, turn: int) -> Decoder:
        """The decoder with the state of whose turn it is."""
        if turn != self._turn:
            self._kept[self._turn] = self.decoder.state()
            kept = self._kept[turn]
            if kept is None:
                self.decoder.reset()
            else:
                self.decoder.set_state(kept)
            self._turn = turn
        return self.decoder

    def forget(self, turn: int) -> None:
        """Let a state be fresh."""
        if turn == self._turn:
            self.decoder.reset()
        else:
            self._kept[turn] = None


class InTurn:
    """One of several that share a decoder; see `Decoder` for the contract.

    Args:
        bank: Where the states are.
        turn: Which of them is its own.
    """

    def __init__(self, bank: _Bank, turn: int) -> None:
        self._bank = bank
        self._turn = turn
        self._shared: Final = bank.decoder
        self.bundle: Final[Bundle] = bank.decoder.bundle
        self.n_features: Final = bank.decoder.n_features
        self.provider: Final = bank.decoder.provider
        self.executor: Final = bank.decoder.executor
        self.fingerprint: Final = bank.decoder.fingerprint

    @property
    def overlay(self) -> Overlay | None:
        """The overlay in force for all; None means the bundle's defaults."""
        return self._shared.overlay

    @property
    def feature_mean(self) -> NDArray[np.float32]:
        """Training mean now in force `(n_features,)`, read-only."""
        return self._shared.feature_mean

    def step(self, features: Features) -> dict[str, NDArray[Any]]:
        """Decode one bin and advance its own state."""
        return self._bank.give(self._turn).step(features)

    def reset(self) -> None:
        """Forget its own past."""
        self._bank.forget(self._turn)

    def state(self) -> dict[str, NDArray[Any]]:
        """Return a copy of its own state."""
        return self._bank.give(self._turn).state()

    def set_state(self, state: State) -> None:
        """Continue from a state that `state` gave."""
        self._bank.give(self._turn).set_state(state)

    def prepare(self, overlay: Overlay) -> None:
        """Do ahead what `apply` of this overlay takes."""
        self._shared.prepare(overlay)

    def apply(self, overlay: Overlay | None) -> None:
        """Put an overlay (or the defaults) in force for all from the next step on; the states stay."""
        self._shared.apply(overlay)

    def rollback(self) -> None:
        """Undo the last `apply`, for all."""
        self._shared.rollback()

    def warm_up(self, runs: int = 1) -> None:
        """Run throw-away steps that change nothing."""
        self._shared.warm_up(runs)

    def settle(self) -> None:
        """Do what was put off, and lie ready to be the next that steps."""
        self._bank.give(self._turn).settle()


def interleaved(decoder: Decoder, n_states: int) -> tuple[InTurn, ...]:
    """Divide a decoder among states that take turns; whoever does so leaves its `step` and state alone.

    Args:
        decoder: The decoder; its state becomes that of the first.
        n_states: How many; the others begin fresh.
    """
    bank = _Bank(decoder, n_states)
    return tuple(InTurn(bank, turn) for turn in range(n_states))
