"""The recorder's disk: the few calls through which it touches files, in one place so that a test can let them fail."""

import os
from pathlib import Path
from typing import Final, Protocol

NO_ROOM: Final = "disk full"
"""Why records are lost where the disk has no room for them."""


class Disk(Protocol):
    """What the recorder asks of a disk; every call may raise `OSError`."""

    def create(self, path: Path) -> int:
        """Make a new empty file and open it for writing and reading."""

    def write(self, file: int, data: memoryview) -> int:
        """Write at the end; returns how many bytes were taken, at least one."""

    def read(self, file: int, at: int, length: int) -> bytes:
        """Read `length` bytes at offset `at`, or as many as there are."""

    def truncate(self, file: int, length: int) -> None:
        """Cut a file, and go on writing there."""

    def sync(self, file: int) -> None:
        """Return once all that was written is on the disk, as far as it is needed to read it back."""

    def close(self, file: int) -> None:
        """Close a file."""

    def rename(self, old: Path, new: Path) -> None:
        """Give a file its name."""

    def remove(self, path: Path) -> None:
        """Remove a file, if it is there."""

    def sync_folder(self, path: Path) -> None:
        """Return once the names in a folder are on the disk."""

    def free_bytes(self, path: Path) -> int:
        """Room for this user on the disk of a folder."""


class OsDisk:
    """The real one."""

    def create(self, path: Path) -> int:
        """Make a new empty file and open it for writing and reading."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)

    def write(self, file: int, data: memoryview) -> int:
        """Write at the end."""
        return os.write(file, data)

    def read(self, file: int, at: int, length: int) -> bytes:
        """Read at an offset."""
        return os.pread(file, length, at)

    def truncate(self, file: int, length: int) -> None:
        """Cut a file, and go on writing there."""
        os.ftruncate(file, length)
        os.lseek(file, length, os.SEEK_SET)

    def sync(self, file: int) -> None:
        """`fdatasync`."""
        os.fdatasync(file)

    def close(self, file: int) -> None:
        """Close a file, whose pages nobody will read soon."""
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)

    def rename(self, old: Path, new: Path) -> None:
        """Give a file its name."""
        old.rename(new)

    def remove(self, path: Path) -> None:
        """Remove a file, if it is there."""
        path.unlink(missing_ok=True)

    def sync_folder(self, path: Path) -> None:
        """`fsync` of the folder."""
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def free_bytes(self, path: Path) -> int:
        """Room for this user."""
        found = os.statvfs(path)
        return found.f_bavail * found.f_frsize
