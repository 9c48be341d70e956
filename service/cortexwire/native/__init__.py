"""What compiled code of several rooms shares."""

from cortexwire.kernel_cache import use_cache

use_cache()
