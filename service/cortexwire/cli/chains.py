"""Signal chains as the command line names them, and the thresholds that they find."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from cortexwire.config import nested, parse_assignments
from cortexwire.decoders import Bundle
from cortexwire.errors import ConfigError
from cortexwire.pipeline.bin_stage import BinStage
from cortexwire.sessions.packets import session_packets
from cortexwire.sessions.session import Session
from cortexwire.signal.calibration import Noise
from cortexwire.signal.settings import FrontEndSettings
from cortexwire.training.features import designed, packet_size, stream_of


def chain_from(base: dict[str, Any], assignments: Sequence[str]) -> FrontEndSettings:
    """A signal chain with settings by path laid over it.

    Raises:
        ConfigError: A setting does not exist or cannot be.
    """
    tree = _laid_over(base, nested(parse_assignments(assignments)))
    try:
        return FrontEndSettings.model_validate(tree)
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, f['loc']))}: {f['msg']}, got {f['input']!r}" for f in error.errors())
        raise ConfigError("signal chain: " + "; ".join(faults)) from error


def chain_of(
    bundle: Bundle | None, session: Session, seconds: float | None, assignments: Sequence[str]
) -> FrontEndSettings:
    """The chain to calibrate: a bundle's or the default one, without thresholds that are fixed already.

    Raises:
        ConfigError: The session has no voltages, or the chain's rule measures nothing.
    """
    if session.kind != "wideband":
        raise ConfigError(f"{session.name}: expected wideband to find thresholds in, got {session.kind}")
    chain = chain_from(bundle.manifest.front_end if bundle else {}, assignments)
    threshold = chain.threshold.model_copy(
        update={"values_uv": None} | ({} if seconds is None else {"calibration_s": seconds})
    )
    if threshold.mode == "absolute":
        raise ConfigError("threshold.mode: expected rms or mad, got absolute, which measures nothing")
    return designed(chain.model_copy(update={"threshold": threshold}), session)


def thresholds_of(
    session: Session, chain: FrontEndSettings, span: tuple[int, int], progress: Callable[[float], Any]
) -> tuple[NDArray[np.float64], Noise]:
    """Send a session through a chain until it has calibrated.

    Returns:
        Thresholds in microvolts, `(n_channels,)`, NaN for disabled channels, and the noise they come from.

    Raises:
        ConfigError: The session ended before there was enough clean signal.
    """
    stage = BinStage(stream_of(session, chain.bin_ms), chain)
    for frame in session_packets(session, packet_size(session), 1, *span):
        stage.packet(frame)
        progress(stage.calibration_progress)
        if stage.noise is not None and stage.thresholds_uv is not None:
            return stage.thresholds_uv, stage.noise
    raise ConfigError(
        f"{session.name}: expected {chain.threshold.calibration_s:g} s of clean signal, got "
        f"{stage.calibration_progress:.0%} of it; name less with --seconds"
    )


def _laid_over(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _laid_over(merged[key], value) if both else value
    return merged
