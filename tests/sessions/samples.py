"""Small recordings that others publish with their packages: what readers of their formats are tested on.

They are not copied into the tree. `python -m tests.sessions.samples FOLDER` fetches them; then name the folder in
`SAMPLE_RECORDINGS`. Without it these tests are skipped.
"""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

VARIABLE = "SAMPLE_RECORDINGS"
OPEN_EPHYS = "open_ephys_python_tools-1.0.1"
"""Holds a recording that Open Ephys 0.6.7 wrote in its binary format, on two record nodes."""
SPIKEGLX = "ibl_neuropixel-1.14.0"
"""Holds `.meta` files that SpikeGLX wrote, and a writer of the binary files that belong to them."""


def sample(name: str) -> Path:
    """The folder of a package's source; skips the test where it is not there."""
    folder = os.environ.get(VARIABLE)
    if folder is None or not (Path(folder) / name).is_dir():
        pytest.skip(f"no {name} in {VARIABLE}: fetch it with python -m tests.sessions.samples FOLDER")
    return Path(folder) / name


def fetch(folder: Path) -> None:
    """Fetch what is missing from the package index."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (OPEN_EPHYS, SPIKEGLX):
        if (folder / name).is_dir():
            continue
        project, _, version = name.rpartition("-")
        wanted = f"{project.replace('_', '-')}=={version}"
        command = ["download", "--quiet", "--no-deps", "--no-binary", ":all:", "--no-build-isolation", wanted]
        subprocess.run([sys.executable, "-m", "pip", *command, "--dest", str(folder)], check=True)
        with tarfile.open(folder / f"{name}.tar.gz") as archive:
            archive.extractall(folder, filter="data")


if __name__ == "__main__":
    fetch(Path(sys.argv[1]))
