"""The run directory: where one engine, and no other, leaves its telemetry map, tap ring and control socket.

An engine holds a lock on the folder for as long as it lives; the kernel releases it when the process dies,
however it dies. So does a recorder, with a lock of its own. Readers need no lock. The folder outlives the engine.
"""

import fcntl
import os
import time
from pathlib import Path

from cortexwire.errors import ConfigError
from cortexwire.runtime.locks import is_locked

_LONGEST_SOCKET_PATH = 107
_LOCK_TRIES, _LOCK_AGAIN_S = 20, 0.005


class RunDir:
    """The names of the files in a run directory, and the lock that makes a process the only one of its role there.

    Args:
        path: The folder; it need not exist yet.
        role: What the process is: `engine` or `recorder`.
    """

    def __init__(self, path: Path, role: str = "engine") -> None:
        self.path = path
        self._role = role
        self._lock: int | None = None

    @property
    def telemetry(self) -> Path:
        """The telemetry map."""
        return self.path / "telemetry.map"

    @property
    def tap(self) -> Path:
        """The tap ring."""
        return self.path / "tap.ring"

    @property
    def start(self) -> Path:
        """What the newest engine began with, the JSON of a `cortexwire.wire.Start`."""
        return self.path / "start.json"

    @property
    def orders(self) -> Path:
        """What operators' commands have left in force, `cortexwire.runtime.orders`."""
        return self.path / "orders.json"

    @property
    def last_good(self) -> Path:
        """Settings with which a supervisor starts the engine again."""
        return self.path / "last_good.json"

    @property
    def thresholds(self) -> Path:
        """Thresholds that a restarted engine goes on with, as a thresholds file."""
        return self.path / "thresholds.json"

    @property
    def overlays(self) -> Path:
        """Copies of the overlays that were in force, by hash."""
        return self.path / "overlays"

    @property
    def bundles(self) -> Path:
        """Copies of the bundles that may be in force, by hash."""
        return self.path / "bundles"

    @property
    def recorder(self) -> Path:
        """The recorder's status map."""
        return self.path / "recorder.map"

    @property
    def control_endpoint(self) -> str:
        """The ZeroMQ endpoint of the control socket.

        Raises:
            ConfigError: The path is longer than a Unix socket can be named.
        """
        return self._endpoint("control.sock")

    @property
    def recorder_endpoint(self) -> str:
        """The ZeroMQ endpoint of the recorder's control socket.

        Raises:
            ConfigError: The path is longer than a Unix socket can be named.
        """
        return self._endpoint("recorder.sock")

    def _endpoint(self, name: str) -> str:
        path = os.fsencode(self.path / name)
        if len(path) > _LONGEST_SOCKET_PATH:
            raise ConfigError(
                f"run_dir: expected a path that leaves the control socket in it at most"
                f" {_LONGEST_SOCKET_PATH} bytes of name, got {len(path)}: {self.path}"
            )
        return f"ipc://{os.fsdecode(path)}"

    def acquire(self) -> None:
        """Make the folder (readable by its owner only) and become the only one of this role in it.

        Raises:
            ConfigError: It cannot be made or belongs to somebody else, or a living one of this role has it.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            owner = self.path.stat().st_uid
            if owner != os.getuid():
                raise ConfigError(f"run_dir: {self.path} belongs to user {owner}, not to user {os.getuid()}")
            lock = os.open(self.path / f"{self._role}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"run_dir: cannot use {self.path}: {error.strerror}") from error
        if not _locked(lock):
            holder = os.read(lock, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(lock)
            raise ConfigError(
                f"run_dir: another {self._role} (process {holder}) runs in {self.path}; give this one its own"
            )
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode("ascii"))
        self._lock = lock

    @property
    def is_taken(self) -> bool:
        """Whether a living process of this role has the folder; what cannot be looked at may be."""
        try:
            return is_locked(self.path / f"{self._role}.lock", fcntl.LOCK_SH)
        except FileNotFoundError:
            return False
        except OSError:
            return True

    def leave_start(self, content: bytes) -> None:
        """Leave what the engine began with for whoever comes later; the file appears whole or not at all.

        Raises:
            ConfigError: It cannot be written.
        """
        fresh = self.start.with_suffix(".new")
        try:
            fresh.write_bytes(content)
            fresh.replace(self.start)
        except OSError as error:
            raise ConfigError(f"run_dir: cannot write {self.start}: {error.strerror}") from error

    def close(self) -> None:
        """Let another engine have the folder; safe to call twice. The files stay."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


class SocketFile:
    """The file of a Unix socket that was bound, which libzmq leaves behind.

    Args:
        endpoint: Where it was bound; other transports have no file.
    """

    def __init__(self, endpoint: str) -> None:
        transport, _, path = endpoint.partition("://")
        self._path = Path(path) if transport == "ipc" and not path.startswith("@") else None
        self._inode = self._found()

    def _found(self) -> int | None:
        try:
            return None if self._path is None else self._path.stat().st_ino
        except OSError:
            return None

    def remove(self) -> None:
        """Remove it, unless somebody else has bound another in its place; safe to call twice."""
        if self._path is not None and self._inode is not None and self._inode == self._found():
            self._path.unlink(missing_ok=True)
        self._inode = None


def _locked(lock: int) -> bool:
    """Take a lock; whoever only looks whether it is taken is in the way for microseconds."""
    for _ in range(_LOCK_TRIES):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            time.sleep(_LOCK_AGAIN_S)
        else:
            return True
    return False
