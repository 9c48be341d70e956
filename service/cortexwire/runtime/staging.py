"""Staging: a bundle is loaded, checked and warmed on a thread of its own, then attached by a command like any other.

Neither the hot loop nor the control socket waits for it. One bundle is staged at a time.
"""

import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from cortexwire.decoders.bundle import MANIFEST, short_hash
from cortexwire.errors import BundleError, ConfigError, CortexwireError
from cortexwire.pipeline.commands import AttachBundle, Command, StageBundle

Submit = Callable[[Command], str | None]
"""Has the hot loop carry out a command; returns why it was turned down, or None."""


@dataclass(frozen=True, slots=True)
class Staging:
    """What became of the bundle staged last, until it is attached.

    Attributes:
        path: Its folder.
        sha256: Its hash, empty while that is unknown.
        phase: `loading` or `refused`.
        why: Why it was refused.
    """

    path: str
    sha256: str = ""
    phase: str = "loading"
    why: str | None = None

    def describe(self) -> dict[str, Any]:
        """As a candidate is described, in plain JSON values."""
        return {
            "bundle_hash": f"{short_hash(self.sha256):016x}" if self.sha256 else "0" * 16,
            "path": self.path,
            "phase": self.phase,
            "why": self.why,
            "bins": 0,
            "divergence": {"rms": 0.0, "max": 0.0},
        }


class Stager:
    """Stages bundles, one at a time.

    Args:
        prepare: Loads and warms what a command needs; raises a `CortexwireError` to turn it down.
        submit: Hands the command to the hot loop, and waits for the answer.

    Attributes:
        status: What is being staged, or was refused; None where there is nothing to say. Replaced whole.
    """

    def __init__(self, prepare: Callable[[Command], None], submit: Submit) -> None:
        self.status: Staging | None = None
        self._prepare = prepare
        self._submit = submit
        self._path = ""
        self._thread: threading.Thread | None = None
        self._cancelled = False

    def stage(self, request: StageBundle) -> None:
        """Begin to stage a bundle.

        Raises:
            ConfigError: Another one is being staged.
            BundleError: There is no bundle.
        """
        path = Path(request.path).absolute()
        if not (path / MANIFEST).is_file():
            raise BundleError(f"stage: expected the folder of a bundle, with its {MANIFEST}, got {path}")
        if self._thread is not None and self._thread.is_alive():
            raise ConfigError(f"stage: {self._path} is being loaded; wait for it, or unstage it")
        self._path = str(path)
        self._cancelled = False
        self.status = Staging(self._path)
        self._thread = threading.Thread(target=self._stage, args=(request,), name="cortexwire-staging", daemon=True)
        self._thread.start()

    def forget(self) -> bool:
        """Give up what is being staged, or say no more of what was refused; whether there was such a thing."""
        found = self.status is not None
        self._cancelled = True
        self.status = None
        return found

    def close(self) -> None:
        """Wait until nothing is being staged."""
        self._cancelled = True
        if self._thread is not None:
            self._thread.join()

    def _stage(self, request: StageBundle) -> None:
        sha256 = ""
        try:
            command = attach_command(request)
            sha256 = command.sha256
            self._say(Staging(self._path, sha256))
            self._prepare(command)
            problem = None if self._cancelled else self._submit(command)
        except CortexwireError as error:
            problem = str(error)
        # Whatever a bundle does, the engine goes on; whoever staged it is told.
        except Exception as error:
            structlog.get_logger("cortexwire.control").exception("staging failed")
            problem = f"{type(error).__name__}: {error}"
        self._say(None if problem is None else Staging(self._path, sha256, "refused", problem))

    def _say(self, status: Staging | None) -> None:
        if not self._cancelled:
            self.status = status


def attach_command(request: StageBundle) -> AttachBundle:
    """The command by which a staged bundle is attached, with the hashes of what lies there now.

    Raises:
        BundleError: There is no bundle or overlay, or the bundle has another hash than it should.
    """
    path = Path(request.path).absolute()
    sha256 = _sha256(path / MANIFEST, "a bundle")
    if request.sha256 not in (None, sha256):
        raise BundleError(f"{path}: expected sha256 {request.sha256}, got {sha256}")
    if request.overlay is None:
        return AttachBundle(str(path), sha256)
    overlay = Path(request.overlay).absolute()
    return AttachBundle(str(path), sha256, str(overlay), f"{short_hash(_sha256(overlay, 'an overlay')):016x}")


def _sha256(path: Path, what: str) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise BundleError(f"{path}: expected {what}: {error.strerror}") from error
