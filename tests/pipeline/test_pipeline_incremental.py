"""Through the whole pipeline the incremental executor decodes as the graph does, and however packets are cut."""

import numpy as np
import pytest

from cortexwire.clients.simulator import Simulator, SimulatorSettings
from cortexwire.decoders import EXECUTORS, Bundle, ExecutorName, OnnxDecoder, make_decoder, make_overlay
from cortexwire.pipeline.commands import Mask, SetThresholds
from cortexwire.pipeline.pipeline import Pipeline
from cortexwire.pipeline.settings import PipelineSettings
from cortexwire.sessions import RecordedSession, session_packets
from cortexwire.sessions.matrix import ArrayMatrix
from cortexwire.sessions.signals import WidebandSignal
from cortexwire.signal.settings import FrontEndSettings, ThresholdSettings
from cortexwire.training import seeded_bundle
from cortexwire.training.features import designed, stream_of
from cortexwire.training.seeded_gru import seeded_gru
from cortexwire.wire import Executor, Kind, OutFlag, OutKind, Output, decode_packet, encode_output, strip_times

CHANNELS = 40
SECONDS = 1.5
SIZES = (1, 7, 30, 600, 2000)


@pytest.fixture(scope="module")
def session() -> RecordedSession:
    simulator = Simulator(SimulatorSettings(channels=CHANNELS, seed=4))
    samples = simulator.next(round(SECONDS * simulator.rate.hz))
    samples[:, 7] = 5  # a dead channel
    return RecordedSession("sim", simulator.rate, WidebandSignal(ArrayMatrix(samples)), simulator.descriptor)


@pytest.fixture(scope="module", params=["gru", "wiener"])
def bundle(
    session: RecordedSession, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Bundle:
    chain = designed(FrontEndSettings(threshold=ThresholdSettings(calibration_s=0.3), dead_after_s=0.5), session)
    stream, folder = stream_of(session, chain.bin_ms), tmp_path_factory.mktemp("bundles")
    made = chain.model_dump(mode="json")
    if request.param == "gru":
        return seeded_gru(folder / "gru", seed=1, stream=stream, units=24, front_end=made)
    return seeded_bundle(folder / "wiener", seed=1, stream=stream, history=5, front_end=made)


def decoded(
    session: RecordedSession, bundle: Bundle, executor: ExecutorName, size: int, *, lost: range = range(0)
) -> tuple[list[Output], Pipeline]:
    """Decode all of it but for the packets that reach into `lost` samples."""
    pipeline = Pipeline(PipelineSettings(), make_decoder(bundle, executor), armed=True)
    outputs: list[Output] = []
    for frame in session_packets(session, size, 3):
        packet = decode_packet(frame)
        if not (packet.kind is Kind.WIDEBAND and packet.sample_index in lost):
            outputs += pipeline.packet(frame)
    return [*outputs, *pipeline.finish()], pipeline


def frames(outputs: list[Output]) -> list[bytes]:
    return [strip_times(encode_output(output)) for output in outputs]


def test_cuts_change_no_byte(session: RecordedSession, bundle: Bundle) -> None:
    want, _ = decoded(session, bundle, "incremental", SIZES[0])
    assert sum(output.kind is OutKind.DECODED for output in want) > 40
    assert any(OutFlag.CHANNELS in output.flags for output in want)
    for size in SIZES[1:]:
        came, _ = decoded(session, bundle, "incremental", size)
        assert frames(came) == frames(want), size


def test_it_decodes_as_the_graph_does(session: RecordedSession, bundle: Bundle) -> None:
    want, _ = decoded(session, bundle, "onnx", 30)
    came, _ = decoded(session, bundle, "incremental", 30)
    compare(want, came)


def compare(want: list[Output], came: list[Output]) -> None:
    assert len(came) == len(want)
    largest = max(np.abs(output.tensors["velocity"]).max() for output in want)
    for one, other in zip(want, came, strict=True):
        assert (one.kind, one.bin, one.flags, one.validity) == (other.kind, other.bin, other.flags, other.validity)
        np.testing.assert_allclose(other.tensors["velocity"], one.tensors["velocity"], rtol=0, atol=1e-5 * largest)
        if one.kind is OutKind.DECODED:
            assert other.executor is Executor.INCREMENTAL
            np.testing.assert_array_equal(other.tensors["counts"], one.tensors["counts"])


def test_gaps_short_and_long_are_decoded_as_the_graph_does(session: RecordedSession, bundle: Bundle) -> None:
    for lost in (range(20_010, 20_100), range(21_000, 26_010)):
        want, _ = decoded(session, bundle, "onnx", 30, lost=lost)
        came, _ = decoded(session, bundle, "incremental", 30, lost=lost)
        compare(want, came)
        for size in (10, 30):
            again, _ = decoded(session, bundle, "incremental", size, lost=lost)
            assert frames(again) == frames(came)


def test_commands_between_packets_are_carried_out_alike(session: RecordedSession, bundle: Bundle) -> None:
    results = []
    for executor in EXECUTORS:
        decoder = make_decoder(bundle, executor)
        pipeline = Pipeline(PipelineSettings(), decoder, armed=True)
        outputs: list[Output] = []
        for number, frame in enumerate(session_packets(session, 50, 3)):
            if number == 400:
                pipeline.command(Mask((1, 2), True))
            if number == 500:
                decoder.apply(make_overlay(bundle, {"feature_mean": bundle.parameters["feature_mean"] + 0.1}))
            if number == 601:
                decoder.rollback()
            if number == 700:
                pipeline.command(SetThresholds((-40.0,) * CHANNELS))
            outputs += pipeline.packet(frame)
        results.append(outputs)
    compare(*results)


def test_the_crossings_are_added_as_they_come(session: RecordedSession, bundle: Bundle) -> None:
    """Were they not, every bin would be summed anew, and nobody would notice but by the time that it takes."""
    pipeline = Pipeline(PipelineSettings(), make_decoder(bundle, "incremental"))
    decoder = pipeline._decoder
    summed = []
    whole = decoder._sum_and_close  # type: ignore[attr-defined]

    def counted() -> object:
        summed.append(pipeline.bins.next_bin)
        return whole()

    decoder._sum_and_close = counted  # type: ignore[attr-defined]
    outputs = [output for frame in session_packets(session, 30, 3) for output in pipeline.packet(frame)]
    whole_bins = [o.bin for o in outputs if o.kind is OutKind.DECODED and o.observed_fraction == 1]
    assert len(whole_bins) > 40
    assert not summed


def test_a_graph_executor_is_told_of_no_crossing(session: RecordedSession, bundle: Bundle) -> None:
    pipeline = Pipeline(PipelineSettings(), OnnxDecoder(bundle))
    assert pipeline.bins._source._follow is None  # type: ignore[union-attr]
