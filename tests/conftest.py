"""What every test gets: real recordings, freshly compiled kernels, and a guard that nothing is left behind.

Kernels are compiled anew for each run, into a folder that goes with it: a cache from an earlier run would
hide the code that writes the kernels from coverage. To keep one between runs, set `CORTEXWIRE_CACHE`.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.leaks import Census, watch

REPOSITORY = Path(__file__).resolve().parent.parent
GRACE_S = 2.0
"""How long a thread or process may take to end after its test."""

_environment = pytest.MonkeyPatch()
_scratch: list[str] = []


def pytest_configure() -> None:
    """Set up what must stand before any test module is imported."""
    watch(_environment)
    if "CORTEXWIRE_CACHE" not in os.environ:
        _scratch.append(tempfile.mkdtemp(prefix="cortexwire-kernels-"))
        _environment.setenv("CORTEXWIRE_CACHE", _scratch[0])
    settings.register_profile("local", deadline=None)
    settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
    settings.load_profile("ci" if os.environ.get("CI") else "local")


def pytest_unconfigure() -> None:
    """Undo what `pytest_configure` did."""
    _environment.undo()
    for folder in _scratch:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The folder of real recordings: `CORTEXWIRE_DATA`, or `../shared/data` beside the repository."""
    folder = Path(os.environ.get("CORTEXWIRE_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real recordings: {folder} is no folder; name theirs in CORTEXWIRE_DATA")
    return folder


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fail a test after which threads, processes or ZeroMQ sockets are alive that were not before it.

    Fixtures of wider scope are made before this one, so what they hold is no leak.
    """
    before = Census.take()
    yield
    until = time.monotonic() + GRACE_S
    while left := Census.take().since(before):
        if time.monotonic() > until:
            pytest.fail("the test left behind: " + "; ".join(left))
        time.sleep(0.01)
