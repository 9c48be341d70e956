"""The signal chain: causal stages and the fused front end."""

from cortexwire.kernel_cache import use_cache

use_cache()
