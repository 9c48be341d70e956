"""Small recordings that the tests write themselves."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import savemat

from cortexwire.sessions import RecordedSession, open_session

ROWS, CHANNELS = 40, 5
COUNTS_TOML = """
name = "made"
file = "made.mat"

[signal]
kind = "counts"
key = "Y"
bin_ms = 100

[columns]
px = { key = "X", column = 0, unit = "mm" }
vx = { derivative_of = "px", unit = "mm/s" }

[trials]
rule = "zero_rows"
key = "X"
columns = [1]
"""


def counts_and_kinematics() -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Counts `(ROWS, CHANNELS)`; position and velocity of four trials of ten rows, `(ROWS, 2)`."""
    rng = np.random.default_rng(5)
    counts = rng.poisson(1.5, (ROWS, CHANNELS)).astype(np.uint8)
    position = rng.normal(0, 10, ROWS).cumsum() + np.repeat((0, 300, -300, 50), 10)
    velocity = np.append(0.0, np.diff(position)) * 10
    velocity[::10] = 0
    return counts, np.stack((position, velocity), axis=1)


def counts_session(folder: Path, toml: str = COUNTS_TOML) -> RecordedSession:
    """A session of counts in a MATLAB file."""
    counts, kinematics = counts_and_kinematics()
    savemat(folder / "made.mat", {"Y": counts, "X": kinematics})
    return described(folder, toml)


def described(folder: Path, toml: str) -> RecordedSession:
    """Write a `session.toml` and open it."""
    (folder / "session.toml").write_text(toml)
    session = open_session(folder / "session.toml")
    assert isinstance(session, RecordedSession)
    return session


def write_wav(path: Path, samples: NDArray[Any], rate: int = 20_000, *, extra: bytes = b"") -> None:
    """Write a mono wav file of int16 or float32 samples, with another chunk in front if wanted."""
    code, bits = (1, 16) if samples.dtype == np.int16 else (3, 32)
    form = struct.pack("<HHIIHH", code, 1, rate, rate * bits // 8, bits // 8, bits)
    chunks = [(b"LIST", extra)] if extra else []
    chunks += [(b"fmt ", form), (b"data", samples.tobytes())]
    body = b"WAVE" + b"".join(
        tag + struct.pack("<I", len(data)) + data + b"\0" * (len(data) & 1) for tag, data in chunks
    )
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)


def wav_folder(folder: Path, n_channels: int = 3, n_samples: int = 1000) -> NDArray[np.int16]:
    """A folder of wav files, each longer than the one before; returns `(n_samples, n_channels)`."""
    folder.mkdir()
    rng = np.random.default_rng(1)
    samples = rng.integers(-500, 500, (n_samples + n_channels, n_channels)).astype(np.int16)
    for channel in range(n_channels):
        write_wav(folder / f"e{channel}.wav", samples[: n_samples + channel, channel])
    return samples[:n_samples]
