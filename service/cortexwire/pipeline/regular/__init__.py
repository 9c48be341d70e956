"""Packets that go on as the last one did, which nearly all do: known in one compiled look."""

from cortexwire.kernel_cache import use_cache

use_cache()

from cortexwire.pipeline.regular.path import HEADER_VALUES, RegularPath, Stamp  # noqa: E402  # after the cache is chosen

__all__ = ["HEADER_VALUES", "RegularPath", "Stamp"]
