"""A folder for bundles, and the one that most tests decode with."""

from pathlib import Path

import pytest

from cortexwire.decoders import Bundle
from tests.pipeline.streams import event_bundle


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bundles")


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Bundle:
    """Three bins of history, for four channels of events with identities."""
    return event_bundle(folder / "events")
