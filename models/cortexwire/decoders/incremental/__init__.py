"""The incremental executor: a bundle's graph cut by what has to wait for what.

What depends on the state alone runs when the bin before has been published; what is linear in the counts is added
crossing by crossing as they come; only the rest waits for the end of the bin.
"""

from cortexwire.kernel_cache import use_cache

use_cache()

from cortexwire.decoders.incremental.executor import IncrementalDecoder  # noqa: E402  # after the cache is chosen

__all__ = ["IncrementalDecoder"]
