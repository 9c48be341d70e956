"""A mono wav file, or a folder of them, as one wideband recording: one file per channel, sorted by name.

Files are trimmed to the shortest. Opening the folder reads headers only; samples are read in blocks.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cortexwire.errors import SessionError
from cortexwire.sessions.matrix import Array, BlockMatrix

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE


@dataclass(frozen=True)
class WavHeader:
    """What a wav file says of itself.

    Attributes:
        rate_hz: Sample rate.
        dtype: int16 or float32, little-endian.
        offset: First byte of the samples.
        n_samples: Number of samples.
    """

    rate_hz: int
    dtype: np.dtype[np.int16] | np.dtype[np.float32]
    offset: int
    n_samples: int


def read_wav_header(path: Path) -> WavHeader:
    """Read the header of a mono wav file of 16-bit integers or 32-bit floats.

    Raises:
        SessionError: It is no such file.
    """
    rate_hz, dtype = 0, None
    size = path.stat().st_size
    with path.open("rb") as file:
        riff = file.read(12)
        if len(riff) < 12 or riff[:4] != b"RIFF" or riff[8:] != b"WAVE":
            raise SessionError(f"{path}: expected a RIFF wave file, got {riff[:12]!r}")
        while len(head := file.read(8)) == 8:
            tag, length = struct.unpack("<4sI", head)
            if tag == b"fmt ":
                rate_hz, dtype = _format(path, file.read(length))
            elif tag == b"data":
                if dtype is None:
                    raise SessionError(f"{path}: expected a format chunk before the data chunk")
                # A recorder that was killed leaves a length of 0 or all ones: then the file's end counts.
                available = size - file.tell()
                if not 0 < length <= available:
                    length = available
                return WavHeader(rate_hz, dtype, file.tell(), length // dtype.itemsize)
            else:
                file.seek(length, 1)
            file.seek(length & 1, 1)
    raise SessionError(f"{path}: expected a data chunk, got none")


def _format(path: Path, chunk: bytes) -> tuple[int, np.dtype[np.int16] | np.dtype[np.float32]]:
    if len(chunk) < 16:
        raise SessionError(f"{path}: expected a format chunk of at least 16 bytes, got {len(chunk)}")
    code, channels, rate_hz, _, _, bits = struct.unpack("<HHIIHH", chunk[:16])
    if code == _EXTENSIBLE and len(chunk) >= 26:
        code = struct.unpack("<H", chunk[24:26])[0]
    if channels != 1:
        raise SessionError(f"{path}: expected a mono file, got {channels} channels")
    if (code, bits) == (_PCM, 16):
        return rate_hz, np.dtype("<i2")
    if (code, bits) == (_FLOAT, 32):
        return rate_hz, np.dtype("<f4")
    raise SessionError(f"{path}: expected 16-bit PCM or 32-bit float samples, got format {code}, {bits} bits")


class WavStack:
    """One wav file, or those of a folder, stacked.

    Attributes:
        rate_hz: Sample rate that all files state.
        names: File names without suffix, in channel order.
        matrix: Samples, time first.
        trimmed: Samples of the longest file that the shortest does not have.

    Raises:
        SessionError: There is no wav file, or the files differ in rate or sample type.
    """

    def __init__(self, folder: Path) -> None:
        found = folder.iterdir() if folder.is_dir() else [folder]
        paths = sorted(path for path in found if path.suffix.lower() == ".wav")
        if not paths:
            raise SessionError(f"{folder}: expected a folder of wav files, found none")
        headers = [read_wav_header(path) for path in paths]
        first = headers[0]
        for path, header in zip(paths, headers, strict=True):
            if (header.rate_hz, header.dtype) != (first.rate_hz, first.dtype):
                raise SessionError(
                    f"{path}: expected {first.rate_hz} Hz {first.dtype} like {paths[0].name}, "
                    f"got {header.rate_hz} Hz {header.dtype}"
                )
        n_samples = min(header.n_samples for header in headers)
        self.rate_hz = first.rate_hz
        self.names = tuple(path.stem for path in paths)
        self.trimmed = max(header.n_samples for header in headers) - n_samples

        def read(start: int, stop: int) -> Array:
            block = np.empty((stop - start, len(paths)), first.dtype)
            for channel, (path, header) in enumerate(zip(paths, headers, strict=True)):
                at = header.offset + start * header.dtype.itemsize
                block[:, channel] = np.fromfile(path, header.dtype, stop - start, offset=at)
            return block

        self.matrix = BlockMatrix(n_samples, len(paths), read)
