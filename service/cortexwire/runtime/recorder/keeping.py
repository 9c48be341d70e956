"""What lies in a recording beside its segments: the sidecar, and copies of the bundles and overlays that records name.

Copies are made by a thread of their own, are verified by their hashes, and appear whole or not at all. A file that
cannot be copied is said aloud and ends nothing: the log still says which one it was.
"""

import hashlib
import os
import queue
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from cortexwire.errors import BundleError, PacketError
from cortexwire.wire import SIDECAR, RecordKind, Sidecar, Start, decode_journal

BUNDLE: Final = "bundle"
"""Folder of the copy of the bundle with which the recording began."""
BUNDLES: Final = "bundles"
"""Folder of the copies of other bundles, each in a folder called by the first 16 digits of its hash."""
OVERLAYS: Final = "overlays"
"""Folder of the copies of overlays, each called by its short hash, 16 digits."""

_MANIFEST: Final = "manifest.json"
_END: Final = None


def now_utc() -> str:
    """The time as sidecars have it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that appears whole or not at all, and is on the disk when this returns."""
    fresh = path.with_name(path.name + ".new")
    try:
        with fresh.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


def write_sidecar(folder: Path, sidecar: Sidecar) -> None:
    """Put a recording's sidecar in its place."""
    write_whole(folder / SIDECAR, msgspec.json.format(msgspec.json.encode(sidecar)) + b"\n")


def read_sidecar(folder: Path) -> Sidecar | None:
    """A recording's sidecar; None where there is none that can be read."""
    try:
        return msgspec.json.decode((folder / SIDECAR).read_bytes(), type=Sidecar)
    except (OSError, msgspec.MsgspecError):
        return None


class Keeper:
    """Keeps what belongs to one recording, in a thread of its own.

    Args:
        folder: Of the recording.
        sidecar: As it is on the disk.
        copies: Whether bundles and overlays are copied.
        said: Told what could not be kept.
    """

    def __init__(self, folder: Path, sidecar: Sidecar, *, copies: bool) -> None:
        self._folder = folder
        self._sidecar = sidecar
        self._copies = copies
        self._tasks: queue.SimpleQueue[tuple[RecordKind, bytes, bool] | None] = queue.SimpleQueue()
        self._log = structlog.get_logger("cortexwire.recorder")
        self._thread = threading.Thread(target=self._run, name="cortexwire-keeper", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def take_known(self) -> None:
        """Keep what the engine that runs is said to have begun with, where no `START` record says it."""
        if self._sidecar.start is not None and self._sidecar.bundle is None:
            self._tasks.put((RecordKind.START, msgspec.json.encode(self._sidecar.start), False))

    def take(self, kind: RecordKind, payload: bytes, *, is_first: bool) -> None:
        """Take a `START` or `COMMAND` record; never waits.

        Args:
            kind: Which of both.
            payload: Its content.
            is_first: Whether it is the recording's first record.
        """
        self._tasks.put((kind, payload, is_first))

    def stop(self, *, finished: bool) -> None:
        """Keep what is still waiting, and say in the sidecar when the recording ended, if it is finished."""
        self._tasks.put(_END)
        if self._thread.is_alive():
            self._thread.join()
        if finished:
            self._change(stopped=now_utc())

    def _run(self) -> None:
        while (task := self._tasks.get()) is not _END:
            kind, payload, is_first = task
            try:
                if kind is RecordKind.START:
                    self._started(decode_journal(payload, Start), is_first=is_first)
                elif self._copies:
                    self._commanded(payload)
            except (BundleError, PacketError, OSError) as error:
                self._log.error("not kept with the recording", why=str(error))

    def _started(self, start: Start, *, is_first: bool) -> None:
        if is_first:
            self._change(start=msgspec.to_builtins(start), from_start=True)
        if not self._copies:
            return
        if self._sidecar.bundle is None:
            copy_bundle(Path(start.bundle), start.bundle_sha256, self._folder / BUNDLE)
            self._change(bundle=BUNDLE)
        elif start.bundle_sha256 != hash_of_bundle(self._folder / BUNDLE):
            self._keep_bundle(start.bundle, start.bundle_sha256)
        if start.overlay is not None:
            copy_overlay(Path(start.overlay), self._folder / OVERLAYS, sha256=start.overlay_sha256)

    def _commanded(self, payload: bytes) -> None:
        try:
            command: dict[str, Any] = msgspec.json.decode(payload, type=dict[str, Any])
        except msgspec.MsgspecError:
            return
        path, sha256, overlay = command.get("path"), command.get("sha256"), command.get("overlay")
        if command.get("command") == "apply_overlay":
            copy_overlay(Path(str(path)), self._folder / OVERLAYS, short=command.get("hash"))
            return
        if isinstance(path, str) and isinstance(sha256, str):
            self._keep_bundle(path, sha256)
        if isinstance(overlay, str):
            copy_overlay(Path(overlay), self._folder / OVERLAYS, sha256=command.get("overlay_sha256"))

    def _keep_bundle(self, path: str, sha256: str) -> None:
        if sha256 != hash_of_bundle(self._folder / BUNDLE):
            copy_bundle(Path(path), sha256, self._folder / BUNDLES / sha256[:16])

    def _change(self, **changes: Any) -> None:
        self._sidecar = msgspec.structs.replace(self._sidecar, **changes)
        try:
            write_sidecar(self._folder, self._sidecar)
        except OSError as error:
            self._log.error("sidecar not written", folder=str(self._folder), why=error.strerror)


def short_hash(sha256: str) -> str:
    """The short hash of a file, 16 digits: its first 8 bytes as a little-endian number."""
    return f"{int.from_bytes(bytes.fromhex(sha256)[:8], 'little'):016x}"


def hash_of_bundle(folder: Path) -> str:
    """Hash of a bundle's manifest, and thereby of the bundle; empty where there is none."""
    try:
        return hashlib.sha256((folder / _MANIFEST).read_bytes()).hexdigest()
    except OSError:
        return ""


def copy_bundle(source: Path, sha256: str, target: Path) -> None:
    """Copy a bundle whose manifest has this hash, every file of it verified; one that is there already stays.

    Raises:
        BundleError: It is another one by now, or damaged.
        OSError: It cannot be read or written.
    """
    if hash_of_bundle(target) == sha256:
        return
    manifest = (source / _MANIFEST).read_bytes()
    files = {_MANIFEST: _expect(manifest, sha256, source / _MANIFEST)}
    for name, expected in msgspec.json.decode(manifest)["files"].items():
        if Path(name).name != name:
            raise BundleError(f"{source / _MANIFEST}: expected names of files, got {name!r}")
        files[name] = _expect((source / name).read_bytes(), expected, source / name)
    target.mkdir(parents=True, exist_ok=True)
    # The manifest last: a folder that has one has all that it names.
    for name, content in sorted(files.items(), key=lambda item: item[0] == _MANIFEST):
        write_whole(target / name, content)


def copy_overlay(source: Path, folder: Path, sha256: str | None = None, short: str | None = None) -> None:
    """Copy an overlay, called by its short hash, which has to be that of `sha256` or `short` where one is given.

    Raises:
        BundleError: It is another one by now.
        OSError: It cannot be read or written.
    """
    content = source.read_bytes()
    came = hashlib.sha256(content).hexdigest()
    if sha256 is not None:
        _expect(content, sha256, source)
    if short is not None and short_hash(came) != short:
        raise BundleError(f"{source}: expected hash {short}, got {short_hash(came)}")
    target = folder / short_hash(came)
    if not target.exists():
        folder.mkdir(exist_ok=True)
        write_whole(target, content)


def _expect(content: bytes, sha256: str, path: Path) -> bytes:
    came = hashlib.sha256(content).hexdigest()
    if came != sha256:
        raise BundleError(f"{path}: expected sha256 {sha256}, got {came}")
    return content
