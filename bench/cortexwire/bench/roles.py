"""A process of a measurement: one role by its name, told as JSON, answering in JSON lines."""

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

from cortexwire.runtime.parent import end_with_parent

Role = Callable[[dict[str, Any]], Mapping[str, Any]]
"""Takes what it is told, and returns its result."""


def run_role(roles: Mapping[str, Role], argv: list[str] | None = None) -> int:
    """Run one role, `ROLE JSON`, and say its result; it ends with whoever started it."""
    end_with_parent()
    role, settings = sys.argv[1:] if argv is None else argv
    say(roles[role](json.loads(settings)))
    return 0


def say(content: Mapping[str, Any]) -> None:
    """Print one line of JSON."""
    print(json.dumps(content), flush=True)  # noqa: T201  # the line is the interface
