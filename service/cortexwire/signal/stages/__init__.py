"""The signal chain one stage at a time: each a few settings, a small state, `process` and `reset`.

They say what the fused front end has to compute, in the plainest form that gives the same bits, and serve where one
stage is wanted by itself. Chunks are time-first; how a stream is cut into chunks never matters.
"""

from cortexwire.signal.stages.blocks import Blocks
from cortexwire.signal.stages.filter import Filter
from cortexwire.signal.stages.health import Health
from cortexwire.signal.stages.reference import Reference
from cortexwire.signal.stages.threshold import Detected, Threshold

__all__ = ["Blocks", "Detected", "Filter", "Health", "Reference", "Threshold"]
