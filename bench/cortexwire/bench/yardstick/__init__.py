"""The front end's least work as a C kernel: how fast it could be, were it to do no more than that.

`front_end.c` is compiled for the machine at hand when a benchmark first asks for it, and called through ctypes.
"""

import ctypes
import os
import shutil
import subprocess
import tempfile
import weakref
from collections.abc import Sequence
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cortexwire.bench.contenders import AbsentError
from cortexwire.signal.settings import FilterDesign
from cortexwire.types import Raw

FLAGS: Final = ("-O3", "-march=native", "-ffp-contract=fast", "-shared", "-fPIC")
SECTIONS: Final = 4
"""Biquads that the kernel is written for."""


class CFrontEnd:
    """Counts and band power of a stream of int16 samples, by the C kernel.

    Args:
        design: A band-pass of `SECTIONS` sections.
        uv_per_bit: Microvolts per raw unit.
        thresholds_uv: Negative thresholds, `(n_channels,)`.
        refractory: In samples.
        bin_samples: Samples that fill a bin.

    Raises:
        AbsentError: There is no C compiler, or it cannot compile the kernel.
        ValueError: The design has another number of sections.
    """

    def __init__(
        self,
        design: FilterDesign,
        uv_per_bit: float,
        thresholds_uv: NDArray[np.float64],
        refractory: int,
        bin_samples: int,
    ) -> None:
        if len(design.sections) != SECTIONS:
            raise ValueError(f"C kernel: expected a filter of {SECTIONS} sections, got {len(design.sections)}")
        compiled = library()
        n = len(thresholds_uv)
        sections = np.array(design.sections, np.float32)
        thresholds = thresholds_uv.astype(np.float32)
        scale = uv_per_bit * design.gain
        self._bin_samples = bin_samples
        self._counts: NDArray[np.int32] = np.zeros(n, np.int32)
        self._power: NDArray[np.float32] = np.zeros(n, np.float32)
        self._made = self._counts.ctypes.data, self._power.ctypes.data
        self._push = compiled.front_end_push
        self._self = compiled.front_end_make(
            n, bin_samples, refractory, scale, sections.ctypes.data, thresholds.ctypes.data
        )
        if not self._self:
            raise MemoryError(f"C kernel: no memory for {n} channels")
        weakref.finalize(self, compiled.front_end_free, self._self)

    def take(self, address: int, n_samples: int) -> tuple[NDArray[np.int32], NDArray[np.float32]] | None:
        """Take samples that lie at an address, at most a bin of them; returns a bin that they complete."""
        if self._push(self._self, address, n_samples, *self._made):
            return self._counts.copy(), self._power.copy()
        return None

    def push(self, raw: Raw) -> list[tuple[NDArray[np.int32], NDArray[np.float32]]]:
        """Take the next samples, C-contiguous int16 `(n, n_channels)`.

        Returns:
            Counts and mean squares in uV² of each bin that they complete.
        """
        if raw.dtype != np.int16 or raw.shape[1:] != self._counts.shape or not raw.flags.c_contiguous:
            raise ValueError(
                f"C kernel: expected contiguous int16 samples of {len(self._counts)} channels, "
                f"got {raw.dtype} {raw.shape}"
            )
        pieces = (raw[at : at + self._bin_samples] for at in range(0, len(raw), self._bin_samples))
        made = [self.take(piece.ctypes.data, len(piece)) for piece in pieces]
        return [bin_ for bin_ in made if bin_ is not None]


def compiler() -> str:
    """The C compiler's path.

    Raises:
        AbsentError: There is none.
    """
    return find_compiler((os.environ.get("CC", ""), "cc", "gcc", "clang"))


def find_compiler(names: Sequence[str]) -> str:
    """The first of these commands that there is.

    Raises:
        AbsentError: There is none.
    """
    for name in names:
        if name and (path := shutil.which(name)):
            return path
    raise AbsentError("no C compiler is installed: apt-get install gcc")


def compiler_version() -> str:
    """The compiler's own first line about itself."""
    told = subprocess.run([compiler(), "--version"], capture_output=True, text=True, check=False)
    return (told.stdout.splitlines() or [compiler()])[0]


@cache
def library() -> Any:
    """Compile the kernel and load it, once a process; the file is not needed once it is loaded.

    Raises:
        AbsentError: There is no C compiler, or it cannot compile the kernel.
    """
    with tempfile.TemporaryDirectory(prefix="cortexwire-") as folder, as_file(files(__package__)) as here:
        target = Path(folder) / "front_end.so"
        command = [compiler(), *FLAGS, "-o", str(target), str(here / "front_end.c")]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode:
            said = (ran.stderr.strip().splitlines() or ["nothing"])[0]
            raise AbsentError(f"the C compiler cannot compile the kernel: {' '.join(command[:-3])}: {said}")
        compiled = ctypes.CDLL(str(target))
    pointer, integer = ctypes.c_void_p, ctypes.c_int32
    compiled.front_end_make.argtypes = [integer, integer, integer, ctypes.c_float, pointer, pointer]
    compiled.front_end_make.restype = pointer
    compiled.front_end_push.argtypes = [pointer, pointer, integer, pointer, pointer]
    compiled.front_end_push.restype = integer
    compiled.front_end_free.argtypes = [pointer]
    compiled.front_end_free.restype = None
    return compiled
