"""Fixtures of the command line's tests."""

import pytest

from tests.cli.running import Command


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs commands in this process."""
    return Command(monkeypatch, capsys)
