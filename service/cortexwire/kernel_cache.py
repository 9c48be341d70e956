"""Where compiled kernels are kept: decided here, before the first kernel is defined, and nowhere else.

`CORTEXWIRE_CACHE` names the folder; without it, it is `cortexwire` in `$XDG_CACHE_HOME` or `~/.cache`; where that
cannot be written (a read-only installation, a user without a home), a private temporary folder that goes with the
process. Children are told of it, so that a fleet of processes compiles once.

A kernel is compiled code of its own module and of all that it calls, but numba looks for changes in the first only.
So each state of the sources that hold kernels has a folder of its own.
"""

import atexit
import fcntl
import os
import shutil
import tempfile
import warnings
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from numba.core.caching import IndexDataCacheFile
from numba.core.config import reload_config

import cortexwire

CACHE_VARIABLE: Final = "CORTEXWIRE_CACHE"
KERNEL_FOLDERS: Final = ("native", "signal", "decoders/incremental", "pipeline/regular", "clients/simulator")
"""Folders of the package whose modules hold kernels, or what kernels call."""

_chosen: list[Path] = []


def use_cache() -> Path:
    """Make numba keep what it compiles in our folder; the first call decides, later ones only say where.

    Returns:
        The folder.
    """
    if not _chosen:
        _chosen.append(find_cache(os.environ) / f"kernels-{sources_token()}")
        _save_one_at_a_time(_chosen[0])
    folder = _chosen[0]
    os.environ["NUMBA_CACHE_DIR"] = str(folder)
    reload_config()
    return folder


def find_cache(env: Mapping[str, str]) -> Path:
    """Choose a folder that can be written; it exists afterwards."""
    wanted = _wanted(env)
    if wanted is not None and _is_writable(wanted):
        return wanted
    folder = Path(tempfile.mkdtemp(prefix="cortexwire-kernels-"))
    atexit.register(_remove, folder, os.getpid())
    os.environ[CACHE_VARIABLE] = str(folder)
    place = "a home folder" if wanted is None else str(wanted)
    warnings.warn(
        f"compiled kernels cannot be kept: expected to write to {place}; this run compiles them anew. "
        f"Name a folder in {CACHE_VARIABLE} to keep them.",
        RuntimeWarning,
        stacklevel=2,
    )
    return folder


def sources_token() -> str:
    """Eight digits that change with any module of `KERNEL_FOLDERS`."""
    token = 0
    for root in cortexwire.__path__:
        for folder in KERNEL_FOLDERS:
            for module in sorted(Path(root, folder).glob("*.py")):
                token = zlib.crc32(module.name.encode() + module.read_bytes(), token)
    return f"{token:08x}"


def _save_one_at_a_time(folder: Path) -> None:
    """Let one process at a time add a kernel to the cache.

    numba reads the index of a function's kernels, chooses the next free number and writes the index and that file:
    two processes that do so at once may leave an index that leads to the other one's machine code.
    """
    save: Callable[[Any, Any, Any], None] = IndexDataCacheFile.save

    def save_alone(cache: Any, key: Any, data: Any) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            save(cache, key, data)

    setattr(IndexDataCacheFile, "save", save_alone)  # noqa: B010  # it is a method to the type checker


def _wanted(env: Mapping[str, str]) -> Path | None:
    if named := env.get(CACHE_VARIABLE):
        return Path(named).absolute()
    if (base := env.get("XDG_CACHE_HOME", "")).startswith("/"):
        return Path(base, "cortexwire")
    home = env.get("HOME", "")
    return Path(home, ".cache", "cortexwire") if home.startswith("/") else None


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _remove(folder: Path, owner: int) -> None:
    """Remove a temporary cache, if this is the process that made it (and not a fork of it)."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
