"""Runs for the evidence command to run."""

from typing import Any


def good() -> dict[str, Any]:
    """Pass, with a figure."""
    return {"passed": True, "figure": 1.5, "rows": [{"a": 1}]}


def bad() -> dict[str, Any]:
    """Fail."""
    return {"passed": False}


def fallen() -> dict[str, Any]:
    """Fall."""
    raise RuntimeError("the run fell")
