"""Which channels share a common reference."""

import numpy as np
from numpy.typing import NDArray

from cortexwire.errors import ConfigError
from cortexwire.signal.settings import ReferenceSettings


def reference_groups(
    settings: ReferenceSettings, n_channels: int, padded: int, banks: tuple[str, ...]
) -> tuple[dict[str, NDArray[np.int64]], NDArray[np.int32]]:
    """Resolve the groups of a reference.

    Returns:
        Channels of each group by name, and the group of each padded channel (-1: none); the second is empty where
        one group holds all channels.

    Raises:
        ConfigError: Banks are unknown, or a named channel does not exist or stands in two groups.
    """
    if settings.mode == "none" or settings.groups == "all":
        return {"all": np.arange(n_channels)}, np.zeros(0, np.int32)
    if settings.groups == "bank":
        if len(banks) != n_channels:
            raise ConfigError(
                f"reference.groups: expected the bank of each of {n_channels} channels, got {len(banks)} banks"
            )
        names = sorted(set(banks))
        members = {name: tuple(c for c in range(n_channels) if banks[c] == name) for name in names}
    else:
        members = settings.groups
    group_of = np.full(padded, -1, np.int32)
    for g, (name, channels) in enumerate(members.items()):
        for c in channels:
            if not 0 <= c < n_channels:
                raise ConfigError(f"reference group {name!r}: expected channels 0 to {n_channels - 1}, got {c}")
            if group_of[c] >= 0:
                raise ConfigError(f"reference group {name!r}: channel {c} stands in two groups")
            group_of[c] = g
    return {name: np.array(channels, np.int64) for name, channels in members.items()}, group_of
