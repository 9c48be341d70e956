"""Assembly: from a configuration to a pipeline with its decoder, the same for the live engine and offline.

A thresholds file is a JSON object `{"thresholds_uv": [-52.5, null, ...]}`, one entry per channel, in microvolts;
null disables the channel.
"""

import math
import os
import platform
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from importlib import metadata
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from cortexwire.config import EngineConfig
from cortexwire.decoders import Bundle, Decoder, Overlay, load_bundle, load_overlay, make_decoder
from cortexwire.errors import BundleError, ConfigError, CortexwireError, StartupError
from cortexwire.pipeline.commands import ApplyOverlay, Command
from cortexwire.pipeline.pipeline import Pipeline
from cortexwire.runtime.compiling import Compiling
from cortexwire.wire import Start

MOST_SHELVED = 4
"""Overlays kept for commands that may still come; the oldest go first."""

T = TypeVar("T")


class _ThresholdsFile(msgspec.Struct, forbid_unknown_fields=True):
    thresholds_uv: list[float | None]


class OverlayShelf:
    """Overlays that commands name, loaded by whoever has time and taken by the pipeline when it has none.

    Args:
        bundle: The bundle to which they must belong.
        decoder: Whoever they will be applied to, to make ready for it.
    """

    def __init__(self, bundle: Bundle, decoder: Decoder | None = None) -> None:
        self._bundle = bundle
        self._decoder = decoder
        self._shelf: dict[str, Overlay] = {}

    def prepare(self, command: Command) -> None:
        """Load the overlay of a command that applies one; other commands need nothing.

        Raises:
            BundleError: The file is missing, damaged, of another bundle, or has another hash.
        """
        if isinstance(command, ApplyOverlay):
            overlay = self._load(command)
            if self._decoder is not None:
                self._decoder.prepare(overlay)
            self._shelf[command.hash] = overlay
            while len(self._shelf) > MOST_SHELVED:
                del self._shelf[next(iter(self._shelf))]

    def take(self, command: ApplyOverlay) -> Overlay:
        """Return the overlay of a command; one that was not prepared is loaded now.

        Raises:
            BundleError: As `prepare`.
        """
        return self._shelf.pop(command.hash, None) or self._load(command)

    def _load(self, command: ApplyOverlay) -> Overlay:
        overlay = load_overlay(command.path, self._bundle)
        if f"{overlay.hash:016x}" != command.hash:
            raise BundleError(f"{command.path}: expected hash {command.hash}, got {overlay.hash:016x}")
        return overlay


class Assembled(NamedTuple):
    """A pipeline, what has to be called with a command before it may have it, and what a log says of its beginning."""

    pipeline: Pipeline
    prepare: Callable[[Command], None]
    start: Start


class Problems:
    """Collects what goes wrong while several things are tried.

    Attributes:
        found: One sentence each.
    """

    def __init__(self) -> None:
        self.found: list[str] = []

    def attempt(self, make: Callable[[], T]) -> T | None:
        """Return what `make` makes; None, with its problems noted, where it raises a `CortexwireError`."""
        try:
            return make()
        except StartupError as error:
            self.found += error.problems
        except CortexwireError as error:
            self.found.append(str(error))
        return None


def assemble(config: EngineConfig, *, live: bool = True) -> Assembled:
    """Load bundle, overlay and thresholds, and make the decoder and its pipeline.

    Args:
        config: The configuration.
        live: Whether stages are stamped with the time; offline they are not.

    Raises:
        StartupError: With all that is wrong.
    """
    problems = Problems()
    bundle = problems.attempt(lambda: _bundle(config.bundle))
    thresholds = overlay = None
    if (file := config.thresholds) is not None:
        thresholds = problems.attempt(lambda: read_thresholds(file))
    if bundle is not None and (path := config.overlay) is not None:
        overlay = problems.attempt(lambda: load_overlay(path, bundle))
    if bundle is None:
        raise StartupError(problems.found)

    def decoding(decoder: Decoder, shelf: OverlayShelf) -> Pipeline:
        return Pipeline(
            config.pipeline,
            decoder,
            armed=config.armed,
            thresholds_uv=thresholds,
            front_end=config.front_end,
            now_ns=time.monotonic_ns if live else None,
            load_overlay=shelf.take,
            rehearse=live and config.realtime.rehearse,
        )

    with Compiling(bundle, config.front_end, config.executor) if live else nullcontext() as compiling:
        decoder = problems.attempt(lambda: make_decoder(bundle, config.executor, config.provider, overlay))
        if decoder is None or problems.found:
            raise StartupError(problems.found)
        shelf = OverlayShelf(bundle, decoder)
        if compiling is not None and config.executor == "incremental":
            compiling.wait()
        pipeline = problems.attempt(lambda: decoding(decoder, shelf))
        if pipeline is None:
            raise StartupError(problems.found)
        if compiling is not None:
            compiling.wait()
            compiling.note()
    return Assembled(pipeline, shelf.prepare, _start(config, bundle, overlay, thresholds, decoder.fingerprint))


def _start(
    config: EngineConfig,
    bundle: Bundle,
    overlay: Overlay | None,
    thresholds: Sequence[float] | None,
    fingerprint: str,
) -> Start:
    values = None if thresholds is None else [value if math.isfinite(value) else None for value in thresholds]
    return Start(
        pid=os.getpid(),
        t_realtime_ns=time.time_ns(),
        config=config.model_dump(mode="json"),
        bundle=str(bundle.path.absolute()),
        bundle_sha256=bundle.sha256,
        overlay=None if overlay is None or config.overlay is None else str(config.overlay.absolute()),
        overlay_sha256=None if overlay is None else overlay.sha256,
        thresholds_uv=values,
        fingerprint=fingerprint,
        software={"cortexwire": metadata.version("cortexwire"), "python": platform.python_version()},
    )


def _bundle(path: Path | None) -> Bundle:
    if path is None:
        raise ConfigError("bundle: expected the folder of a model bundle, got none")
    return load_bundle(path)


def read_thresholds(path: Path) -> tuple[float, ...]:
    """Read a thresholds file; channels without a threshold are NaN.

    Raises:
        ConfigError: It cannot be read, or is no thresholds file.
    """
    try:
        content = msgspec.json.decode(path.read_bytes(), type=_ThresholdsFile)
    except OSError as error:
        raise ConfigError(f"thresholds: cannot read {path}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise ConfigError(f'thresholds: expected {{"thresholds_uv": [...]}} in {path}: {error}') from error
    return tuple(math.nan if value is None else value for value in content.thresholds_uv)
