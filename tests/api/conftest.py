"""One browser for all tests of the dashboard."""

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    """Chromium; skipped where it or playwright is absent."""
    from tests.api.browsing import chromium

    with chromium() as started:
        yield started
