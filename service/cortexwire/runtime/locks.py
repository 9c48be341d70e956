"""Whether somebody holds a lock on a file, seen without being in the way for longer than the look."""

import fcntl
import os
from pathlib import Path


def is_locked(path: Path, wanted: int) -> bool:
    """Whether somebody's lock on a file excludes one of this kind.

    Args:
        path: The file.
        wanted: `fcntl.LOCK_SH` or `fcntl.LOCK_EX`.

    Raises:
        OSError: It cannot be opened.
    """
    lock = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, wanted | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False
