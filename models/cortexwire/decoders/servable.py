"""What any executor can serve, and what it can continue from."""

from collections.abc import Mapping

import numpy as np

from cortexwire.decoders.bundle import Bundle
from cortexwire.decoders.contract import State
from cortexwire.errors import BundleError


def check_servable(bundle: Bundle) -> None:
    """Refuse a bundle that needs more than the features of one bin at a time.

    Raises:
        BundleError: It asks for other signals, for more bins at once, or looks ahead.
    """
    other = [spec.name for spec in bundle.manifest.inputs if spec.role in ("samples", "band_power", "aux")]
    if other:
        raise BundleError(f"{bundle.path}: expected features as the only signal input, got also {other}")
    timing = bundle.manifest.features.timing
    if timing is None or (timing.window, timing.hop, timing.lookahead) != (1, 1, 0):
        raise BundleError(f"{bundle.path}: expected features of one bin at a time without lookahead, got {timing}")


def check_state(want: Mapping[str, tuple[int, ...]], state: State) -> None:
    """Compare names and shapes of a saved state with a decoder's own.

    Raises:
        ValueError: Something differs.
    """
    came = {name: np.shape(value) for name, value in state.items()}
    if dict(want) != came:
        raise ValueError(f"state: expected {dict(want)}, got {came}")
