"""A first start: kernels that do not need each other are compiled side by side, in processes of their own.

Compiling holds the interpreter, so threads would not help. What was compiled is found in the cache afterwards, by
this start and by all later ones; a file there tells that there is nothing left to compile, so that later starts begin
no process. One that fails is no harm: what it would have compiled is then compiled where it is needed.
"""

import os
import subprocess
import sys
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

import msgspec
import numpy as np

from cortexwire.decoders import Bundle, ExecutorName, load_bundle
from cortexwire.kernel_cache import use_cache
from cortexwire.pipeline.bin_stage import wideband_bins
from cortexwire.pipeline.pipeline import front_end_of
from cortexwire.runtime.parent import PARENT_VARIABLE, end_with_parent

LONGEST_S: Final = 120.0
"""How long a process is waited for."""
_NICE: Final = 19
"""How far processes give way to an engine that runs already."""
_DTYPES: Final[dict[str, np.dtype[np.int16] | np.dtype[np.float32]]] = {
    "int16": np.dtype(np.int16),
    "float32": np.dtype(np.float32),
}


class Compiling:
    """Compiles what a bundle's stream will need, and its executor beside that.

    Args:
        bundle: The bundle.
        front_end: Changes of its signal chain.
        executor: Its executor.
        beside: Whether this process has other things to do and is not to compile anything itself.
    """

    def __init__(
        self, bundle: Bundle, front_end: dict[str, Any], executor: ExecutorName, *, beside: bool = False
    ) -> None:
        # Which channels are masked changes no kernel, and may change with each start.
        shaping = {name: value for name, value in front_end.items() if name != "masked"}
        token = repr((bundle.manifest.front_end, shaping, bundle.manifest.stream.kind, executor)).encode()
        self._done = use_cache() / f"compiled-{zlib.crc32(token):08x}"
        self._children: list[subprocess.Popen[bytes]] = []
        if bundle.manifest.stream.kind != "wideband" or self._done.exists():
            return
        python = [sys.executable, "-P", "-m", __spec__.name, str(bundle.path)]
        changes = msgspec.json.encode(front_end)
        niceness = str(_NICE if beside else 0)
        # What this process compiles meanwhile is the executor, or else the kernels of the usual type.
        for dtype in ("int16", "float32") if beside or executor == "incremental" else ("float32",):
            with suppress(OSError):
                self._children.append(
                    subprocess.Popen(
                        [*python, dtype, changes, niceness],
                        env=os.environ | {PARENT_VARIABLE: str(os.getpid())},
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL,
                    )
                )

    def wait(self) -> None:
        """Wait until all of it is compiled, or too long."""
        for child in self._children:
            with suppress(subprocess.TimeoutExpired):
                child.wait(LONGEST_S)
        self.__exit__()

    def __enter__(self) -> Self:
        """Use as a context manager."""
        return self

    def __exit__(self, *_: object) -> None:
        """End what still runs."""
        for child in self._children:
            if child.poll() is None:
                child.kill()
            child.wait()
        self._children.clear()

    def note(self) -> None:
        """Everything is compiled: later starts need not look."""
        with suppress(OSError):
            self._done.touch()


def main(arguments: list[str]) -> int:
    """Compile the kernels of one sample type: `BUNDLE TYPE CHANGES NICENESS`."""
    end_with_parent()
    path, dtype, front_end, niceness = arguments
    os.nice(int(niceness))
    bundle = load_bundle(Path(path))
    wideband_bins(bundle.manifest.stream, front_end_of(bundle, msgspec.json.decode(front_end)), _DTYPES[dtype])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
