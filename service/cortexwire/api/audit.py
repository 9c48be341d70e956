"""The audit log: who changed what, when, and what came of it; one line of JSON each, never a secret.

The file is opened for every line, so that it can be moved away at any time.
"""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import structlog


class Audit:
    """Appends to one file.

    Args:
        path: The file; only its owner may read it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._log = structlog.get_logger("cortexwire.audit")

    def write(
        self, who: str, client: str, action: str, request: dict[str, Any] | None, status: int, **came: Any
    ) -> None:
        """Write one line.

        Args:
            who: Name of the token, `local` without one, empty for somebody unknown.
            client: Address that the request came from.
            action: What was asked for.
            request: With which values.
            status: Status of the answer.
            came: What came of it: `bin`, `detail`, `job`.
        """
        entry = {
            "t": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "who": who,
            "client": client,
            "action": action,
            "request": request,
            "status": status,
            **came,
        }
        try:
            file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.write(file, msgspec.json.encode(entry) + b"\n")
            finally:
                os.close(file)
        # What was done is done: a full disk takes the line, not the answer.
        except OSError as error:
            self._log.error("cannot write the audit log", path=str(self.path), error=error.strerror)
        self._log.info("control", **entry)
