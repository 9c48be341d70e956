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
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from cortexwire.config import EngineConfig
from cortexwire.decoders import Bundle, Decoder, Overlay, load_bundle, load_overlay, make_decoder
from cortexwire.errors import ConfigError, CortexwireError, StartupError
from cortexwire.pipeline.commands import Command
from cortexwire.pipeline.pipeline import Pipeline
from cortexwire.runtime.compiling import Compiling
from cortexwire.runtime.shelves import MOST_SHELVED, BundleShelf, OverlayShelf
from cortexwire.wire import Start

__all__ = ["MOST_SHELVED", "Assembled", "OverlayShelf", "Problems", "assemble", "read_thresholds"]

T = TypeVar("T")


class _ThresholdsFile(msgspec.Struct, forbid_unknown_fields=True):
    thresholds_uv: list[float | None]


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


def assemble(config: EngineConfig, *, live: bool = True, thresholds_uv: Sequence[float] | None = None) -> Assembled:
    """Load bundle, overlay and thresholds, and make the decoder and its pipeline.

    Args:
        config: The configuration.
        live: Whether stages are stamped with the time; offline they are not.
        thresholds_uv: Thresholds, NaN for a disabled channel, in place of those of the configuration's file.

    Raises:
        StartupError: With all that is wrong.
    """
    problems = Problems()
    bundle = problems.attempt(lambda: _bundle(config.bundle))
    thresholds = None if thresholds_uv is None else tuple(thresholds_uv)
    overlay = None
    if thresholds is None and (file := config.thresholds) is not None:
        thresholds = problems.attempt(lambda: read_thresholds(file))
    if bundle is not None and (path := config.overlay) is not None:
        overlay = problems.attempt(lambda: load_overlay(path, bundle))
    if bundle is None:
        raise StartupError(problems.found)

    def decoding(decoder: Decoder, overlays: OverlayShelf, bundles: BundleShelf) -> Pipeline:
        return Pipeline(
            config.pipeline,
            decoder,
            armed=config.armed,
            thresholds_uv=thresholds,
            front_end=config.front_end,
            now_ns=time.monotonic_ns if live else None,
            load_overlay=overlays.take,
            load_strand=bundles.take,
            rehearse=live and config.realtime.rehearse,
        )

    with Compiling(bundle, config.front_end, config.executor) if live else nullcontext() as compiling:
        decoder = problems.attempt(lambda: make_decoder(bundle, config.executor, config.provider, overlay))
        if decoder is None or problems.found:
            raise StartupError(problems.found)
        overlays = OverlayShelf(bundle, decoder)
        compiled = partial(_compile, config) if live else lambda _: None
        bundles = BundleShelf(config.executor, config.provider, overlays, compiled)
        if compiling is not None and config.executor == "incremental":
            compiling.wait()
        pipeline = problems.attempt(lambda: decoding(decoder, overlays, bundles))
        if pipeline is None:
            raise StartupError(problems.found)
        bundles.make = pipeline.strand_of
        if compiling is not None:
            compiling.wait()
            compiling.note()

    def prepare(command: Command) -> None:
        overlays.prepare(command)
        bundles.prepare(command)

    return Assembled(pipeline, prepare, _start(config, bundle, overlay, thresholds, decoder.fingerprint))


def _compile(config: EngineConfig, bundle: Bundle) -> None:
    """Have the kernels of another bundle compiled by other processes: the running engine needs its interpreter."""
    with Compiling(bundle, config.front_end, config.executor, beside=True) as compiling:
        compiling.wait()
        compiling.note()


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
