"""From what is typed to what is meant: sources, bundles, packet sizes."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cortexwire.cli.console import note
from cortexwire.errors import ConfigError

if TYPE_CHECKING:
    from cortexwire.decoders import Bundle
    from cortexwire.sessions.packets import PacketSizes
    from cortexwire.sessions.session import Session
    from cortexwire.types import Rate


def open_source(source: str, data: Path | None = None) -> "Session":
    """Open a recorded or simulated session, and say what had to be assumed to read it.

    Raises:
        ConfigError: The name of a simulated session cannot be read.
        SessionError: The recording cannot.
    """
    if source.partition(":")[0] == "sim":
        from cortexwire.clients.simulator import parse_source

        return parse_source(source)
    from cortexwire.sessions import open_session

    session = open_session(source, data)
    for problem in session.problems:
        note(f"{session.name}: {problem}")
    return session


def open_bundle(path: Path | None) -> "Bundle":
    """Load and verify a bundle; `reference` names the one that is shipped.

    Raises:
        ConfigError: None was named.
        BundleError: It is damaged.
    """
    from cortexwire.decoders import load_bundle
    from cortexwire.runtime.shipped import bundle_folder

    if path is None:
        raise ConfigError("--bundle: expected the folder of a model bundle, got none")
    return load_bundle(bundle_folder(path))


def check_folder(option: str, folder: Path) -> None:
    """See that there is a folder to write into, which is worth knowing before the work is done.

    Raises:
        ConfigError: There is none.
    """
    if not folder.is_dir():
        raise ConfigError(f"{option}: expected the folder {folder}, got none")


def check_stream(bundle: "Bundle", session: "Session") -> None:
    """Make sure that a bundle may decode a session.

    Raises:
        ConfigError: Rate, scale, channels or electrode identities differ; all of it is named.
    """
    from cortexwire.decoders import stream_mismatches
    from cortexwire.training.features import stream_of

    found = stream_mismatches(bundle.manifest.stream, stream_of(session, bundle.manifest.stream.bin_ms))
    if found:
        raise ConfigError(f"{session.name} does not fit {bundle.path}: " + "; ".join(found))


def sample_range(session: "Session", start_s: float, stop_s: float | None) -> tuple[int, int]:
    """The samples between two times; times beyond the end mean the end.

    Raises:
        ConfigError: There is no sample between them.
    """
    start = round(start_s * session.rate.hz)
    stop = session.n_samples if stop_s is None else min(session.n_samples, round(stop_s * session.rate.hz))
    if start >= stop:
        length = session.n_samples / session.rate.hz
        raise ConfigError(f"--from, --to: expected a part of the {length:g} s of {session.name}, got none")
    return start, stop


def packet_sizes(samples: str | None, milliseconds: float | None, rate: "Rate") -> "PacketSizes":
    """Samples in each packet: a number, one drawn between two bounds for each packet, or a time.

    Raises:
        ConfigError: Both were given, or one that cannot be.
    """
    if samples is not None and milliseconds is not None:
        raise ConfigError("--packet-samples and --packet-ms: expected one of them, got both")
    if samples is None:
        return max(1, round(rate.hz * (1.0 if milliseconds is None else milliseconds) / 1000))
    found = re.fullmatch(r"(\d+)(?:-(\d+))?", samples)
    low, high = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= low <= high:
        raise ConfigError(f"--packet-samples: expected N or LOW-HIGH, from 1 up, got {samples!r}")
    return low if low == high else _drawn(low, high)


def _drawn(low: int, high: int) -> Iterator[int]:
    import random

    while True:
        yield random.randint(low, high)
