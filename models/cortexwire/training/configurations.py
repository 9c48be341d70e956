"""Which configurations a comparison tries of each family, where nobody says otherwise.

A family is asked which settings it has: one with a `history` is tried with several windows of time, so that bins of
any length are treated alike. Everything else is the family's own default, or chosen by its own fit.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from cortexwire.training.families import family

WINDOWS_S: Final = (0.5, 1.0, 2.0)
QUICK_WINDOW_S: Final = 1.0
MOST_BINS: Final = 50


def default_configurations(
    name: str, bin_ms: float, *, quick: bool = False, shared: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], ...]:
    """Settings to choose from, best guess first.

    Args:
        name: Name of the family.
        bin_ms: Length of a bin.
        quick: Give one only.
        shared: Settings to use wherever a family has them; its others are left alone.

    Raises:
        ConfigError: There is no such family.
    """
    names = {field.name for field in msgspec.structs.fields(family(name).settings)}
    fixed = {key: value for key, value in (shared or {}).items() if key in names}
    if "history" not in names or "history" in fixed:
        return (fixed,)
    windows = (QUICK_WINDOW_S,) if quick else (QUICK_WINDOW_S, *(w for w in WINDOWS_S if w != QUICK_WINDOW_S))
    bins = dict.fromkeys(min(MOST_BINS, max(1, round(window * 1000 / bin_ms))) for window in windows)
    return tuple({**fixed, "history": n} for n in bins)
