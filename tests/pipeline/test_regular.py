"""A packet takes the short way only where the long one would have done the same; and in a calm stream nearly all do."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final
from zlib import crc32

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cortexwire.decoders import Bundle, make_decoder
from cortexwire.decoders.manifest import StreamSpec
from cortexwire.pipeline.commands import Command, Mask, Recalibrate, SetThresholds
from cortexwire.pipeline.pipeline import Pipeline
from cortexwire.pipeline.regular import RegularPath
from cortexwire.signal.design import design_filter
from cortexwire.signal.settings import FilterSettings, FrontEndSettings
from cortexwire.training.seeded_gru import seeded_gru
from cortexwire.types import Rate
from cortexwire.wire import Clock, Layout, MarkerCode, PacketEncoder, encode_output, make_markers
from cortexwire.wire.header import HEADER_BYTES, Header, pack_header, read_header
from cortexwire.wire.packets import decode_packet, encode_packet
from tests.pipeline.streams import BIN, QUIET, RATE, with_settings

N: Final = 3
THRESHOLDS: Final = (-30.0,) * N
LENGTH: Final = 4000
CHANGED: Final = st.integers(60, 90)
"""Packets of 30 samples at which something happens: filters have settled, and several bins follow."""

Frames = Iterable[bytes | bytearray | memoryview]


def bundle_of(folder: Path, rate: Rate = RATE, channels: int = N) -> Bundle:
    design = design_filter(FilterSettings(), rate)
    chain = FrontEndSettings(filter=FilterSettings(design=design))
    stream = StreamSpec(
        kind="wideband", rate_num=rate.num, rate_den=rate.den, uv_per_bit=1.0, n_channels=channels, bin_ms=chain.bin_ms
    )
    return seeded_gru(folder, seed=2, stream=stream, units=6, front_end=chain.model_dump(mode="json"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return bundle_of(tmp_path_factory.mktemp("regular") / "gru")


class Fed:
    """A pipeline, everything that it gave, and how many packets took the short way."""

    def __init__(self, bundle: Bundle, *, short: bool, options: Any = QUIET, **more: Any) -> None:
        given = {"thresholds_uv": (-30.0,) * bundle.manifest.stream.n_channels} | more
        self.pipeline = Pipeline(options, make_decoder(bundle, "incremental"), armed=True, **given)
        self.outputs: list[bytes] = []
        self.taken = 0
        bins = self.pipeline.bins
        if short:
            go_on = bins._go_on

            def counted(*arguments: Any) -> None:
                self.taken += 1
                go_on(*arguments)

            bins._go_on = counted  # type: ignore[assignment, method-assign]
        else:
            bins._regular.learn = lambda *_: None  # type: ignore[method-assign]

    def take(self, frame: bytes | bytearray | memoryview, received_ns: int | None = None) -> None:
        """Feed a frame."""
        self.outputs += map(encode_output, self.pipeline.packet(frame, received_ns))  # type: ignore[arg-type]

    def all_of_it(self) -> dict[str, Any]:
        """All that could differ."""
        pipeline = self.pipeline
        self.outputs += map(encode_output, pipeline.finish())
        bins, report = pipeline.bins, pipeline.channel_report()
        return {
            "outputs": self.outputs,
            "counters": pipeline.counters.as_dict(),
            "notes": pipeline.drain_notes(),
            "state": {name: value.tobytes() for name, value in pipeline._decoder.state().items()},
            "told": (pipeline.state, bins.next_bin, bins.spans, bins.intake.position, bins.intake.expected),
            "report": repr(report),
        }


def alike(bundle: Bundle, frames: Frames, *, received_ns: Callable[[int], int] | None = None, **more: Any) -> Fed:
    """Feed a stream with and without the short way, and compare all there is; gives the one with it."""
    with_it, without = Fed(bundle, short=True, **more), Fed(bundle, short=False, **more)
    for number, frame in enumerate(frames):
        for fed in (with_it, without):
            fed.take(frame, None if received_ns is None else received_ns(number))
    want, came = without.all_of_it(), with_it.all_of_it()
    for name in want:
        assert came[name] == want[name], name
    assert not without.taken
    return with_it


def samples_of(n: int = LENGTH, channels: int = N, seed: int = 1) -> np.ndarray:
    """Noise, and spikes now and then."""
    rng = np.random.default_rng(seed)
    raw = rng.normal(0, 8, (n, channels))
    for _ in range(n * channels // 150):
        at = rng.integers(n - 12)
        raw[at : at + 12, rng.integers(channels)] -= 120 * np.hanning(12)
    return raw.round().astype(np.int16)


def stream(
    samples: np.ndarray, size: int = 30, epoch: int = 5, start: int = 0, encoder: PacketEncoder | None = None
) -> list[bytes]:
    """A stream cut into packets, each with its times."""
    encoder = encoder or PacketEncoder(RATE, samples.shape[1], None, 1.0, epoch=epoch)
    return [
        encoder.wideband(start + at, samples[at : at + size], 1000 + at, 2000 + at)
        for at in range(0, len(samples), size)
    ]


SAMPLES: Final = samples_of()
FRAMES: Final = stream(SAMPLES)


def changed(frame: bytes, **fields: Any) -> bytes:
    """The same packet with other values in its header, and the checksum that they need."""
    return pack_header(read_header(frame)._replace(**fields)) + frame[HEADER_BYTES:]


def test_in_a_calm_stream_nearly_all_packets_take_the_short_way(bundle: Bundle) -> None:
    fed = alike(bundle, FRAMES)
    settling = -(-fed.pipeline.bins._source.settled_at // 30)  # type: ignore[union-attr]
    # One takes the long way once the filters have settled, and every other one the short way.
    assert fed.taken == len(FRAMES) - settling - 1
    assert len(fed.outputs) >= LENGTH // 600
    assert fed.pipeline.counters.accepted == len(FRAMES)


@pytest.mark.parametrize("size", [1, 7, 30, 77, 200, 600, 601, 1500])
def test_packets_of_any_size_and_across_bin_edges(bundle: Bundle, size: int) -> None:
    fed = alike(bundle, stream(SAMPLES, size))
    settled = fed.pipeline.bins._source.settled_at  # type: ignore[union-attr]
    starts = range(0, LENGTH, size)
    # The packet before has to end where the filters have settled, and this one before or at the end of the open bin.
    ends = [min(start + size, LENGTH) for start in starts]
    whole = [end - start == size for start, end in zip(starts, ends, strict=True)]
    within = [start // BIN == (end - 1) // BIN for start, end in zip(starts, ends, strict=True)]
    wanted = [
        start >= max(settled, 1) and fits
        for start, fits in zip(starts, map(all, zip(whole, within, strict=True)), strict=True)
    ]
    assert fed.taken == sum(wanted)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=CHANGED, bit=st.integers(0, 8 * HEADER_BYTES - 1), sealed=st.booleans())
def test_any_bit_of_a_header(bundle: Bundle, at: int, bit: int, sealed: bool) -> None:
    damaged = bytearray(FRAMES[at])
    damaged[bit // 8] ^= 1 << bit % 8
    if sealed:
        damaged[HEADER_BYTES - 4 : HEADER_BYTES] = crc32(damaged[: HEADER_BYTES - 4]).to_bytes(4, "little")
    alike(bundle, [*FRAMES[:at], bytes(damaged), *FRAMES[at + 1 :]])


_BITS: Final = {
    "epoch": 64, "sequence": 64, "sample_index": 63, "acquired_ns": 63, "sent_ns": 63, "acquired_clock": 8,
    "sent_clock": 8, "dtype": 8, "layout": 8, "kind": 8, "pad": 8, "version": 16, "n_channels": 32, "n_samples": 32,
    "n_items": 32, "rate_num": 32, "rate_den": 32, "descriptor_hash": 64, "flags": 32, "payload_bytes": 32,
    "payload_crc32": 32, "source": 16,
}  # fmt: skip


@st.composite
def edits(draw: st.DrawFn) -> dict[str, tuple[str, int]]:
    """One or two fields of a header, near what they were, small, or at the end of their range."""
    fields = draw(st.lists(st.sampled_from(sorted(_BITS)), min_size=1, max_size=2, unique=True))
    found = {}
    for name in fields:
        found[name] = draw(st.tuples(st.sampled_from(["step", "small", "large"]), st.integers(-3, 40)))
    return found


def edited(frame: bytes, edit: dict[str, tuple[str, int]]) -> bytes:
    """Carry an edit out: a step from what a field is, a small value, or one as far from the end of its range."""
    header = read_header(frame)._asdict()
    for name, (how, value) in edit.items():
        most = 2 ** _BITS[name] - 1
        wanted = {"step": header[name] + value, "small": value, "large": most - value}[how]
        header[name] = min(max(wanted, 0), most)
    return pack_header(Header(**header)) + frame[HEADER_BYTES:]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=CHANGED, edit=edits(), instead=st.booleans())
def test_any_field_of_a_header(bundle: Bundle, at: int, edit: dict[str, tuple[str, int]], instead: bool) -> None:
    alike(bundle, [*FRAMES[:at], edited(FRAMES[at], edit), *FRAMES[at + instead :]])


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_packets_lost_twice_swapped_cut_and_grown(bundle: Bundle, data: st.DataObject) -> None:
    frames = list(FRAMES)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(CHANGED)
        match data.draw(st.sampled_from(["lose", "twice", "swap", "late", "cut", "grow", "empty"])):
            case "lose":
                del frames[at : at + data.draw(st.integers(1, 25))]
            case "twice":
                frames.insert(at, frames[at - data.draw(st.integers(0, 2))])
            case "swap":
                frames[at], frames[at + 1] = frames[at + 1], frames[at]
            case "late":
                frames.insert(at + 3, frames.pop(at))
            case "cut":
                frames[at] = frames[at][: -data.draw(st.integers(1, 5))]
            case "grow":
                frames[at] += bytes(data.draw(st.integers(1, 5)))
            case "empty":
                frames.insert(at, b"")
    window = data.draw(st.sampled_from([0, 3]))
    alike(bundle, frames, options=with_settings(intake={"reorder_window_packets": window, "restart_run_packets": 4}))


def test_samples_that_were_skipped_and_samples_that_come_again(bundle: Bundle) -> None:
    for step in (-1000, -10, 10, 30, 1000, 20_000):
        encoder = PacketEncoder(RATE, N, None, 1.0, epoch=5)
        frames = stream(SAMPLES[:2000], encoder=encoder) + stream(SAMPLES, start=2010 + step, encoder=encoder)
        fed = alike(bundle, frames, options=with_settings(intake={"restart_run_packets": 3}))
        assert fed.taken > 50


def test_new_epochs_and_a_rig_that_begins_again_in_its_own(bundle: Bundle) -> None:
    again = stream(SAMPLES[:2000], epoch=6)
    options = with_settings(intake={"restart_run_packets": 3})
    fed = alike(bundle, [*FRAMES[:80], *again, *FRAMES[80:83], *again, *stream(SAMPLES, epoch=7)], options=options)
    assert fed.pipeline.counters.restarts == 2
    assert fed.pipeline.counters.restarts_same_epoch == 1


def test_what_is_no_signal_between_packets(bundle: Bundle) -> None:
    encoder = PacketEncoder(RATE, N, None, 1.0, epoch=5)
    frames = stream(SAMPLES[:2100], encoder=encoder)
    for start, stop in ((2110, 2130), (2500, 3100)):
        codes = np.array([MarkerCode.BLANK_START, MarkerCode.BLANK_END])
        offsets = np.array([start, stop]) - 2100
        frames.append(encoder.markers(2100, make_markers(offsets, codes)))
    frames += stream(SAMPLES[2100:], start=2100, encoder=encoder)
    frames += [encoder.end(LENGTH), *stream(SAMPLES[:900], start=LENGTH, encoder=encoder)]
    fed = alike(bundle, frames)
    assert fed.pipeline.counters.artefact_samples > 600
    assert 0 < fed.taken < len(frames) - 20


def test_other_types_and_layouts_take_the_long_way(bundle: Bundle) -> None:
    floats = stream(SAMPLES.astype(np.float32))
    assert alike(bundle, floats).taken == 0
    turned = []
    for frame in FRAMES:
        packet = decode_packet(frame)
        layout = Layout.CHANNEL_MAJOR
        turned.append(encode_packet(msgspec.structs.replace(packet, layout=layout)))
    assert alike(bundle, turned).taken == 0
    mixed = [turned[k] if k in range(70, 80) or k % 7 == 0 else frame for k, frame in enumerate(FRAMES)]
    fed = alike(bundle, mixed)
    assert fed.taken > 0
    plain = alike(bundle, FRAMES)
    assert fed.outputs == plain.outputs
    assert (
        alike(bundle, [*FRAMES[:60], *stream(SAMPLES.astype(np.float32), epoch=9), *stream(SAMPLES, epoch=10)]).taken
        > 0
    )


def test_one_channel_or_one_sample_is_the_same_in_either_layout(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "one", channels=1)
    samples = samples_of(3000, 1)
    fed = alike(bundle, [changed(frame, layout=int(Layout.CHANNEL_MAJOR)) for frame in stream(samples)])
    assert fed.outputs == alike(bundle, stream(samples)).outputs


def test_checksums_of_the_payload_are_checked(bundle: Bundle) -> None:
    frames = stream(SAMPLES, encoder=PacketEncoder(RATE, N, None, 1.0, epoch=5, payload_checksum=True))
    frames[70] = frames[70][:-1] + bytes([frames[70][-1] ^ 1])
    fed = alike(bundle, frames)
    assert fed.taken == 0
    assert fed.pipeline.counters.malformed["checksum"] == 1


@pytest.mark.parametrize("wrap", [bytearray, memoryview, lambda frame: memoryview(bytearray(frame))])
def test_frames_of_other_kinds(bundle: Bundle, wrap: Callable[[bytes], Any]) -> None:
    assert alike(bundle, [wrap(frame) for frame in FRAMES]).outputs == alike(bundle, FRAMES).outputs


@pytest.mark.parametrize("shift", [1, 3, 4, 7])
def test_frames_at_odd_addresses(bundle: Bundle, shift: int) -> None:
    rooms = [bytes(shift) + frame for frame in FRAMES]
    views = [memoryview(room)[shift:] for room in rooms]
    writable = [memoryview(bytearray(room))[shift:] for room in rooms]
    want = alike(bundle, FRAMES).outputs
    assert alike(bundle, views).outputs == want
    assert alike(bundle, writable).outputs == want


def test_times_without_a_clock_are_refused_on_either_way(bundle: Bundle) -> None:
    encoder = PacketEncoder(RATE, N, None, 1.0, epoch=5)
    silent = [encoder.wideband(at, SAMPLES[at : at + 30]) for at in range(0, LENGTH - 30, 30)]
    fed = alike(bundle, silent)
    assert fed.taken > 70
    wrong = [changed(frame, **{field: 77}) if at == k else frame for at, frame in enumerate(silent)
             for field, k in (("acquired_ns", 70), ("sent_ns", 75))]  # fmt: skip
    assert alike(bundle, wrong).pipeline.counters.malformed["field"] == 2
    for clock in Clock:
        other = [changed(frame, acquired_clock=int(clock), acquired_ns=0) if k > 70 else frame
                 for k, frame in enumerate(FRAMES)]  # fmt: skip
        assert alike(bundle, other).taken > 60


def test_times_on_outputs_are_those_of_the_packet_that_closed_the_bin(bundle: Bundle) -> None:
    alike(bundle, FRAMES, received_ns=lambda number: 10**9 + 10**6 * number, options=QUIET, now_ns=lambda: 7)


def test_deadlines_see_every_packet(bundle: Bundle) -> None:
    with_it, without = (
        Fed(bundle, short=short, options=type(QUIET).model_validate({"deadline": {"deadline_ms": 5.0}}))
        for short in (True, False)
    )
    for number, frame in enumerate(FRAMES):
        now_ns = 10**9 + 10**6 * number + (30 * 10**6 if number > 100 else 0)
        for fed in (with_it, without):
            fed.outputs += map(encode_output, fed.pipeline.tick(now_ns))
            fed.take(frame, now_ns)
        assert with_it.pipeline.next_due_ns == without.pipeline.next_due_ns
    assert with_it.all_of_it() == without.all_of_it()
    assert with_it.pipeline.counters.late_bins > 0
    assert with_it.taken > 70


def test_commands_take_effect_at_the_same_bin(bundle: Bundle) -> None:
    commands: dict[int, Command] = {
        65: Mask((1,), True),
        70: SetThresholds((-25.0,) * N),
        85: Mask((1,), False),
        90: Recalibrate(0.02),
    }
    with_it, without = Fed(bundle, short=True), Fed(bundle, short=False)
    for number, frame in enumerate(stream(samples_of(9000))):
        for fed in (with_it, without):
            if number in commands:
                assert fed.pipeline.command(commands[number])[1] is None
            fed.take(frame)
    assert with_it.all_of_it() == without.all_of_it()
    assert with_it.taken > 150


@pytest.mark.parametrize("mode", ["rms", "mad"])
def test_a_calibration_sees_the_same_samples(bundle: Bundle, mode: str) -> None:
    front_end = {"threshold": {"mode": mode, "calibration_s": 0.1}}
    fed = alike(bundle, stream(samples_of(12_000)), front_end=front_end, thresholds_uv=None)
    assert fed.taken > 150
    assert any("calibrated" in note for note in fed.pipeline.drain_notes() + fed.all_of_it()["notes"]) or not (
        fed.pipeline.bins.calibrating
    )


def test_the_last_sequence_number_there_is(bundle: Bundle) -> None:
    for first in (2**64 - 1, 2**64 - 90, 2**63 - 90, 2**63 - 1, 2**63 + 5):
        encoder = PacketEncoder(RATE, N, None, 1.0, epoch=5, sequence=first)
        frames = [encoder.wideband(at, SAMPLES[at : at + 30]) for at in range(0, 30 * min(120, 2**64 - first), 30)]
        begun = [changed(frame, sequence=number) for number, frame in enumerate(FRAMES[:60])]
        alike(bundle, [*frames, *FRAMES[:5]])
        alike(bundle, [*begun, *(changed(frame, epoch=5) for frame in frames), *FRAMES[60:70]])


def test_a_stream_ends_where_samples_cannot_be_counted_further(tmp_path: Path) -> None:
    rate = Rate(30_000 * 143_165 + 1, 143_165)
    bundle = bundle_of(tmp_path / "far", rate)
    stage = Pipeline(QUIET, make_decoder(bundle, "onnx")).bins
    furthest = stage.intake._expectation._furthest
    assert furthest < 2**40
    start = furthest - LENGTH + 500
    encoder = PacketEncoder(rate, N, None, 1.0, epoch=5)
    frames = stream(SAMPLES, start=start, encoder=encoder)
    fed = alike(bundle, frames)
    assert fed.pipeline.counters.mismatched > 0
    assert fed.taken > 0


def test_a_path_opens_only_behind_plain_samples() -> None:
    path = RegularPath()
    for number, frame in enumerate(FRAMES[:3]):
        path.learn(frame, decode_packet(frame), number + 1)
        assert path.open
        assert path.samples_of(frame) is None
        assert path.samples_of(FRAMES[number + 1]) is not None
    floats = stream(SAMPLES.astype(np.float32))[0]
    path.learn(floats, decode_packet(floats), 1)
    assert not path.open
