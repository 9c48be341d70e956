"""Is this the array that the bundle was trained on, channel by channel?

A decoder applied to other electrodes, or to the same ones in another order, gives smooth and wrong movements,
so the question is settled before the engine may be armed:

* the rig sends identities and they equal the bundle's, in order: `VERIFIED`;
* they differ: `MISMATCH`; the stream is refused, and no confirmation helps;
* there is nothing to compare (the rig or the bundle has no identities): `ABSENT`; the channels' rates are
  correlated with those in training, and unless they agree an operator has to confirm (`CONFIRMED`);
* no word from the rig yet, or a new descriptor is announced that has not come: `UNKNOWN`.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from cortexwire.errors import ConfigError
from cortexwire.pipeline.settings import IdentitySettings
from cortexwire.wire.descriptor import Descriptor

_HOW = "(`cortexwire control confirm`, POST /v1/identity/confirm)"
MIN_CHANNELS = 3
"""Channels with a rate, now and in training, below which a correlation says nothing."""


class ElectrodeLike(Protocol):
    """An electrode of a bundle or of a descriptor."""

    @property
    def id(self) -> str:
        """Name, unique in its source."""
        ...

    @property
    def bank(self) -> str:
        """Bank or headstage; may be empty."""
        ...


class IdentityState(Enum):
    """What is known about the identity of the stream's electrodes."""

    UNKNOWN = "unknown"
    VERIFIED = "verified"
    ABSENT = "absent"
    CONFIRMED = "confirmed"
    MISMATCH = "mismatch"


class Identity:
    """Compares the electrodes of a stream with a bundle's.

    Args:
        settings: Which correlation is enough.
        electrodes: The bundle's electrodes in channel order; empty when it has none.
        training_rates_hz: Rate of each channel in training, `(n_channels,)`; empty when not recorded.
    """

    def __init__(
        self,
        settings: IdentitySettings,
        electrodes: Sequence[ElectrodeLike],
        training_rates_hz: ArrayLike = (),
    ) -> None:
        self._settings = settings
        self._expected = [_name(electrode) for electrode in electrodes]
        self._training = np.asarray(training_rates_hz, np.float64)
        self.reset()

    def reset(self) -> None:
        """A new stream begins: nothing is known of it, and a confirmation of the last one does not hold."""
        self._state = IdentityState.UNKNOWN
        self._hash: int | None = None
        self._compared: Descriptor | None = None
        self._difference = ""
        self._measured = False
        self._correlation: float | None = None

    def learn(self, other: "Identity") -> None:
        """Take what the comparison with another bundle knows of the rig.

        What an operator has confirmed of that bundle's array holds for this one if both name the same electrodes.
        """
        if other._compared is not None:
            self.descriptor(other._compared)
        elif other._hash is not None:
            self.announced(other._hash)
        same = bool(self._expected) and self._expected == other._expected
        if same and other.state is IdentityState.CONFIRMED and not self.refused:
            self.confirm()

    @property
    def state(self) -> IdentityState:
        """What is known."""
        return self._state

    @property
    def correlation(self) -> float | None:
        """Pearson correlation of the channels' rates with training's; None where not measured or defined."""
        return self._correlation

    @property
    def refused(self) -> bool:
        """Whether the stream may not be decoded with this bundle at all."""
        return self._state is IdentityState.MISMATCH

    @property
    def blocks_arming(self) -> bool:
        """Whether the engine may not be armed; `why` says why not."""
        return bool(self.why)

    @property
    def why(self) -> str:
        """One sentence on why the engine may not be armed; empty when it may."""
        if self._state in (IdentityState.VERIFIED, IdentityState.CONFIRMED):
            return ""
        if self._state is IdentityState.MISMATCH:
            return self._difference
        if self._state is IdentityState.UNKNOWN:
            return f"the rig has not sent its electrode identities yet; wait, or confirm that the array is right {_HOW}"
        return self._why_absent()

    def announced(self, descriptor_hash: int) -> None:
        """Take the descriptor hash of a packet; cheap when it is the same as before.

        0 says that the rig sends no identities; a hash other than the last one makes the identity unknown
        until its descriptor comes.
        """
        if descriptor_hash == self._hash:
            return
        self._hash = descriptor_hash
        self._compared = None
        if descriptor_hash == 0:
            self._absent()
        else:
            self._state = IdentityState.UNKNOWN

    def descriptor(self, descriptor: Descriptor) -> None:
        """Take the rig's descriptor; cheap when it is the same object as before."""
        if descriptor is self._compared:
            return
        self._hash = descriptor.hash
        self._compared = descriptor
        came = [_name(electrode) for electrode in descriptor.electrodes]
        if not came or not self._expected:
            self._absent()
        elif came == self._expected:
            self._state = IdentityState.VERIFIED
        else:
            self._state = IdentityState.MISMATCH
            self._difference = _difference(self._expected, came)

    def rates(self, channel_rates_hz: ArrayLike) -> float | None:
        """Take the channels' rates, measured over `window_s`.

        Args:
            channel_rates_hz: `(n_channels,)`; NaN for a channel that is masked or dead.

        Returns:
            Their correlation with training's, or None where it is not defined: fewer than three channels, or
            no differences among them.
        """
        now = np.asarray(channel_rates_hz, np.float64)
        self._measured = True
        self._correlation = _pearson(now, self._training) if now.shape == self._training.shape else None
        return self._correlation

    def confirm(self) -> None:
        """An operator says that it is the right array.

        Raises:
            ConfigError: The identities came and differ, which cannot be confirmed away.
        """
        if self.refused:
            raise ConfigError(f"cannot confirm the identity: {self._difference}")
        if self._state is not IdentityState.VERIFIED:
            self._state = IdentityState.CONFIRMED

    def _absent(self) -> None:
        if self._state is not IdentityState.CONFIRMED:
            self._state = IdentityState.ABSENT

    def _why_absent(self) -> str:
        least = self._settings.min_rate_correlation
        whose = "the bundle has" if not self._expected else "the rig sends"
        if not self._measured:
            found = "channel rates have not been compared with training's yet"
        elif self._correlation is None:
            found = "channel rates cannot be compared with training's"
        elif self._correlation < least:
            came = f"{self._correlation:.2f}"
            found = f"channel rates correlate {came} with training's, expected at least {least:.2f}"
        else:
            return ""
        return f"{whose} no electrode identities and {found}; confirm that it is the right array {_HOW}"


def _name(electrode: ElectrodeLike) -> str:
    return f"{electrode.id} (bank {electrode.bank})" if electrode.bank else electrode.id


def _difference(expected: list[str], came: list[str]) -> str:
    if len(expected) != len(came):
        return f"electrode identities differ: expected {len(expected)} electrodes, got {len(came)}"
    differ = [channel for channel, pair in enumerate(zip(expected, came, strict=True)) if pair[0] != pair[1]]
    first = differ[0]
    return (
        f"electrode identities differ: channel {first} expected {expected[first]}, got {came[first]}; "
        f"{len(differ)} of {len(expected)} channels differ"
    )


def _pearson(a: np.ndarray, b: np.ndarray) -> float | None:
    both = np.isfinite(a) & np.isfinite(b)
    if np.count_nonzero(both) < MIN_CHANNELS:
        return None
    a, b = a[both] - a[both].mean(), b[both] - b[both].mean()
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale > 0 else None
