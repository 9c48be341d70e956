"""Asks a web server again and again whether it still answers, from a thread that may wait for it."""

import http.client
import threading
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

PERIOD_S: Final = 1.0
"""Time between two questions."""
_PATIENCE_S: Final = 5.0


class Asking:
    """Counts the answers of a web server; one that refuses to answer does answer.

    Args:
        url: What to ask for.
        period_s: Time between two questions.

    Attributes:
        answers: How many there were.
    """

    def __init__(self, url: str, period_s: float = PERIOD_S) -> None:
        self.answers = 0
        self._url = urlsplit(url)
        self._period_s = period_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="cortexwire-asking", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._stop.wait(self._period_s):
            with suppress(OSError, http.client.HTTPException):
                connection = http.client.HTTPConnection(self._url.netloc, timeout=_PATIENCE_S)
                try:
                    connection.request("GET", self._url.path)
                    connection.getresponse().read()
                    self.answers += 1
                finally:
                    connection.close()

    def close(self) -> None:
        """Ask no more; a question that is still open is not waited for."""
        self._stop.set()
