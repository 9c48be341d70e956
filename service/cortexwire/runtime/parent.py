"""The child's side of a process that must not outlive the one that started it.

Whoever starts a child names itself in `CORTEXWIRE_PARENT`. On Linux the kernel then sends the child SIGTERM when
the parent ends, however it ends; elsewhere only an orderly end stops it.
"""

import ctypes
import os
import signal
import sys
from typing import Final

PARENT_VARIABLE: Final = "CORTEXWIRE_PARENT"
"""Process id of the parent; taken out of the environment, so that it is not handed on."""

_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Ask to be ended with the parent, if this process was started as a child; end now if it is gone already."""
    parent = os.environ.pop(PARENT_VARIABLE, "")
    if not parent.isdecimal() or sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    # The parent may have ended before the kernel was asked.
    if os.getppid() != int(parent):
        sys.exit(128 + signal.SIGTERM)
