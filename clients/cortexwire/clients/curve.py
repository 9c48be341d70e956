"""CURVE keys: in files, and on the socket of a client of an engine that lets in only whom it knows.

The engine is the CURVE server of every connection, whichever side binds; a rig, a subscriber and an operator are its
clients and know its public key. Key files are those of other ZeroMQ tools (ZPL): `NAME.key` is public,
`NAME.key_secret` has both keys and is readable by its owner only.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Self

import zmq

from cortexwire.errors import ConfigError

PUBLIC_SUFFIX: Final = ".key"
SECRET_SUFFIX: Final = ".key_secret"
_KEY: Final = re.compile(r'^\s*(public-key|secret-key)\s*=\s*"(.{40})"\s*$', re.MULTILINE)


class CurveKeys(NamedTuple):
    """A key pair, Z85-encoded."""

    public: bytes
    secret: bytes

    def __repr__(self) -> str:
        """The public key only, so that no message shows the other."""
        return f"CurveKeys({self.public!r})"


@dataclass(frozen=True)
class CurveClient:
    """What a client needs: whom it trusts, and who it is.

    Attributes:
        server: Public key of the engine.
        keys: Its own keys.
    """

    server: bytes
    keys: CurveKeys

    @classmethod
    def from_files(cls, server_key: Path, key: Path) -> Self:
        """Read the engine's public key and one's own key pair.

        Raises:
            ConfigError: A file cannot be read, is no key, or is a secret that others can read.
        """
        return cls(read_public_key(server_key), read_keys(key))

    def secure(self, socket: zmq.Socket[bytes]) -> None:
        """Have a socket talk only to that engine; before it is bound or connected."""
        socket.set(zmq.CURVE_SERVERKEY, self.server)
        socket.set(zmq.CURVE_PUBLICKEY, self.keys.public)
        socket.set(zmq.CURVE_SECRETKEY, self.keys.secret)


def read_keys(path: Path) -> CurveKeys:
    """Read a key pair.

    Raises:
        ConfigError: It cannot be read, others can read it, or there is no pair in it.
    """
    found = _read(path)
    if "secret-key" not in found or "public-key" not in found:
        raise ConfigError(f"CURVE: expected a key pair (NAME{SECRET_SUFFIX}) at {path}")
    if path.stat().st_mode & 0o077:
        raise ConfigError(f"CURVE: expected {path} to be readable by its owner only: chmod 600 {path}")
    keys = CurveKeys(found["public-key"], found["secret-key"])
    if zmq.curve_public(keys.secret) != keys.public:
        raise ConfigError(f"CURVE: expected keys that belong together in {path}")
    return keys


def read_public_key(path: Path) -> bytes:
    """Read a public key; of a file with both keys, that one.

    Raises:
        ConfigError: It cannot be read, or there is none in it.
    """
    found = _read(path)
    if "public-key" not in found:
        raise ConfigError(f"CURVE: expected a public key (NAME{PUBLIC_SUFFIX}) at {path}")
    return found["public-key"]


def write_keys(folder: Path, name: str) -> tuple[Path, Path]:
    """Make a key pair; returns the file with the public key and the one with both.

    Raises:
        ConfigError: There are keys of this name already, or the folder cannot be written.
    """
    public, secret = zmq.curve_keypair()
    lines = f'metadata\n    name = "{name}"\ncurve\n    public-key = "{public.decode()}"\n'
    files = folder / (name + PUBLIC_SUFFIX), folder / (name + SECRET_SUFFIX)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path, text in zip(files, (lines, f'{lines}    secret-key = "{secret.decode()}"\n'), strict=True):
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
                file.write(text)
    except FileExistsError as error:
        raise ConfigError(f"CURVE: expected a name without keys in {folder}, got {name!r}") from error
    except OSError as error:
        raise ConfigError(f"CURVE: cannot write keys to {folder}: {error.strerror}") from error
    return files


def _read(path: Path) -> dict[str, bytes]:
    try:
        text = path.read_text(encoding="ascii")
    except OSError as error:
        raise ConfigError(f"CURVE: cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"CURVE: expected a key at {path}") from error
    return {name: key.encode() for name, key in _KEY.findall(text)}
