"""The recorder: a process of its own that writes all that the tap holds to disk, and says how far it is.

`process` is that process; what is named here is how others see it, and imports none of it.
"""

from cortexwire.runtime.recorder.control import RecorderClient
from cortexwire.runtime.recorder.status import RecorderStatus, read_status, recorder_state

__all__ = ["RecorderClient", "RecorderStatus", "read_status", "recorder_state"]
