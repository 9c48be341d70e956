"""From a session and a configuration to a recording with crossings and decoded bins: what the pipeline makes of it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final

from cortexwire.config import EngineConfig
from cortexwire.decoders import load_bundle
from cortexwire.errors import ConfigError
from cortexwire.pipeline.bin_stage import BinStage
from cortexwire.pipeline.pipeline import front_end_of
from cortexwire.runtime.assembly import assemble, read_thresholds
from cortexwire.runtime.nwb_export.crossings import find_crossings
from cortexwire.runtime.nwb_export.recording import Recording
from cortexwire.runtime.offline import decode_frames
from cortexwire.sessions.packets import session_packets
from cortexwire.sessions.session import Session
from cortexwire.wire import Output

PACKET_MS: Final = 20
"""Packet length for reading a session; it shows in nothing but speed."""
EPOCH: Final = 1

Told = Callable[[float], Any]


def decoded_recording(
    recording: Recording, config: EngineConfig, told: Callable[[str], Told] = lambda _what: lambda _share: None
) -> Recording:
    """The recording with what the configured pipeline makes of it: crossings, and outputs once they are asked for.

    Args:
        recording: A recording with its session.
        config: As for `decode`; its bundle says what the stream has to be.
        told: Makes, for each thing that is done, whom to tell the share of it that is done.

    Raises:
        ConfigError: No bundle is named, or thresholds do not fit.
        BundleError: The bundle is damaged.
        StartupError: The pipeline cannot be made.
    """
    session = recording.session
    if config.bundle is None:
        raise ConfigError("bundle: expected the folder of a model bundle, got none")
    bundle = load_bundle(config.bundle)
    (velocity,) = bundle.manifest.outputs_of("velocity") or (None,)
    crossings = recording.crossings
    if session.kind == "wideband":
        chain = front_end_of(bundle, config.front_end)
        thresholds = None if config.thresholds is None else read_thresholds(config.thresholds)
        stage = BinStage(bundle.manifest.stream, chain, config.pipeline.intake, thresholds)
        share = told("finding crossings")
        crossings = find_crossings(stage, _frames(session), lambda end: share(min(1.0, end / session.n_samples)))
    return replace(
        recording,
        crossings=crossings,
        outputs=_outputs(session, config, told("decoding")),
        velocity_unit=velocity.unit if velocity is not None else "",
        bundle=f"{bundle.manifest.name} {bundle.sha256}",
        configuration=config.model_dump(mode="json"),
    )


def session_crossings(recording: Recording, stage: BinStage, share: Told = lambda _share: None) -> Recording:
    """The recording with crossings found by a chain of its own, without a decoder."""
    session = recording.session
    found = find_crossings(stage, _frames(session), lambda end: share(min(1.0, end / session.n_samples)))
    configuration = {"front_end": stage.front_end.model_dump(mode="json")}
    return replace(recording, crossings=found, configuration=configuration)


def _frames(session: Session) -> Iterator[bytes]:
    return session_packets(session, max(1, int(session.rate.fraction * PACKET_MS / 1000)), EPOCH)


def _outputs(session: Session, config: EngineConfig, share: Told) -> Iterator[Output]:
    pipeline = assemble(config, live=False).pipeline
    for output in decode_frames(pipeline, _frames(session)):
        share(min(1.0, output.end_sample / session.n_samples))
        yield output
