"""What every process of a peer does alike."""

import gc
from collections.abc import Callable, Mapping
from typing import Any

Say = Callable[[Mapping[str, Any]], None]
"""Tells whoever started the process that it is ready, and what that needs to know."""


def keep_collector_out() -> None:
    """Do without full collections from now on, as an engine does: with torch loaded each takes 0.1 s and more."""
    gc.collect()
    gc.freeze()
    gc.disable()
