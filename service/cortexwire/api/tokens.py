"""Tokens of the REST interface: made once, shown once, kept only as salted hashes.

A token is `cwt_ID_SECRET`: 8 hexadecimal digits by which its line is found, and 256 random bits, so that a fast hash is
enough: nobody tries 2^256. The file is JSON, readable by its owner only, read again when it has changed.
"""

import hashlib
import hmac
import os
import secrets
import time
from pathlib import Path
from typing import Final, Literal

import msgspec

from cortexwire.errors import ConfigError

Scope = Literal["read", "control"]
"""read: look at everything; control: change things too."""

_PREFIX: Final = "cwt"
_PERSON: Final = b"cortexwire token"
_LOOK_S: Final = 1.0
_DAY_S: Final = 86_400
_NO_SALT: Final = bytes(16)


class Grant(msgspec.Struct, frozen=True):
    """Who somebody is, and what he may do."""

    name: str
    scope: Scope


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of the file: everything about a token but the token.

    Attributes:
        name: Who has it.
        scope: What it allows.
        id: By which it is found, 8 hexadecimal digits.
        salt: 16 bytes, hexadecimal.
        hash: BLAKE2b of the secret with the salt, hexadecimal.
        made: When, Unix time.
        expires: When it ends to be good, Unix time; None for never.
    """

    name: str
    scope: Scope
    id: str
    salt: str
    hash: str
    made: int
    expires: int | None = None

    @property
    def expired(self) -> bool:
        """Whether its time is over."""
        return self.expires is not None and time.time() >= self.expires


class _File(msgspec.Struct, forbid_unknown_fields=True):
    tokens: list[Entry] = []


def new_token(path: Path, name: str, scope: Scope, days: float | None = None) -> str:
    """Make a token and write its hash into a file, which is made where there is none.

    Returns:
        The token, which is nowhere kept.

    Raises:
        ConfigError: Somebody has this name already, or the file cannot be read or written.
    """
    entries = list_tokens(path) if path.exists() else []
    if any(entry.name == name for entry in entries):
        raise ConfigError(f"{path}: expected a name that no token has, got {name!r}; revoke that one first")
    id_, secret, salt = secrets.token_hex(4), secrets.token_urlsafe(32), secrets.token_bytes(16)
    now = int(time.time())
    expires = None if days is None else now + int(days * _DAY_S)
    entries.append(Entry(name, scope, id_, salt.hex(), _hash(secret, salt), now, expires))
    _write(path, entries)
    return f"{_PREFIX}_{id_}_{secret}"


def list_tokens(path: Path) -> list[Entry]:
    """The lines of a file of tokens.

    Raises:
        ConfigError: It cannot be read, others may read it, or it is no such file.
    """
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigError(f"tokens: expected {path} to be readable by its owner only: chmod 600 {path}")
        return msgspec.json.decode(path.read_bytes(), type=_File).tokens
    except OSError as error:
        raise ConfigError(f"tokens: cannot read {path}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise ConfigError(f"tokens: expected a file of tokens at {path}: {error}") from error


def revoke_token(path: Path, name: str) -> None:
    """Take a token out of the file; an API that runs refuses it within a second.

    Raises:
        ConfigError: No token has this name, or the file cannot be read or written.
    """
    entries = list_tokens(path)
    left = [entry for entry in entries if entry.name != name]
    if len(left) == len(entries):
        names = ", ".join(entry.name for entry in entries) or "none"
        raise ConfigError(f"{path}: expected the name of a token ({names}), got {name!r}")
    _write(path, left)


def _write(path: Path, entries: list[Entry]) -> None:
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(file, "wb") as out:
            out.write(msgspec.json.format(msgspec.json.encode(_File(entries)), indent=2) + b"\n")
        fresh.replace(path)
    except OSError as error:
        raise ConfigError(f"tokens: cannot write {path}: {error.strerror}") from error


def _hash(secret: str, salt: bytes) -> str:
    return hashlib.blake2b(secret.encode(), digest_size=32, salt=salt, person=_PERSON).hexdigest()


class Tokens:
    """The tokens of a file, for a service that runs.

    Args:
        path: The file.

    Raises:
        ConfigError: As `list_tokens`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries = {entry.id: entry for entry in list_tokens(path)}
        self._version = self._look()
        self._looked = time.monotonic()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._entries)

    def check(self, token: str) -> Grant | None:
        """Who has a token; None for one that is not known or has expired."""
        self._follow()
        prefix, _, rest = token.partition("_")
        id_, _, secret = rest.partition("_")
        entry = self._entries.get(id_) if prefix == _PREFIX else None
        # Where nothing is found as much is computed, so that the time says nothing.
        salt = _NO_SALT if entry is None else bytes.fromhex(entry.salt)
        same = hmac.compare_digest(_hash(secret, salt), "" if entry is None else entry.hash)
        return Grant(entry.name, entry.scope) if entry is not None and same and not entry.expired else None

    def _look(self) -> tuple[int, int]:
        try:
            found = self._path.stat()
        except OSError:
            return 0, 0
        return found.st_mtime_ns, found.st_ino

    def _follow(self) -> None:
        now = time.monotonic()
        if now - self._looked < _LOOK_S:
            return
        self._looked = now
        version = self._look()
        if version != self._version:
            self._version = version
            try:
                self._entries = {entry.id: entry for entry in list_tokens(self._path)}
            # A file that nobody can read lets nobody in.
            except ConfigError:
                self._entries = {}
