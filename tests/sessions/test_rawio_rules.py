"""The rules of scale, units and stretches, on a stand-in for neo's readers: what no recording at hand has."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cortexwire.errors import SessionError
from cortexwire.sessions.rawio import Format, RawRecording, StreamChoiceError
from cortexwire.sessions.rawio.formats import Place, Spikes
from cortexwire.sessions.rawio.opening import session_of

CHANNEL = np.dtype(
    [
        ("name", "U64"),
        ("id", "U64"),
        ("sampling_rate", "f8"),
        ("dtype", "U16"),
        ("units", "U64"),
        ("gain", "f8"),
        ("offset", "f8"),
        ("stream_id", "U64"),
    ]
)
SPIKE = np.dtype([("name", "U64"), ("id", "U64"), ("wf_sampling_rate", "f8")])


class FakeReader:
    """A reader as neo's are: one block, channels as given, samples per segment."""

    def __init__(self, channels: list[tuple[Any, ...]], *segments: NDArray[Any], spikes: int = 0) -> None:
        self._segments = segments
        rows = np.array(channels, CHANNEL)
        streams = np.array([(s, s) for s in dict.fromkeys(rows["stream_id"])], [("name", "U9"), ("id", "U9")])
        self.header = {
            "signal_streams": streams,
            "signal_channels": rows,
            "spike_channels": np.array([("u", "0", 30_000.0)] * spikes, SPIKE),
            "event_channels": np.zeros(0, [("name", "U9")]),
        }

    def parse_header(self) -> None:
        """Warn, as readers do."""
        warnings.warn("the clock was set", UserWarning, stacklevel=1)

    def block_count(self) -> int:
        """One."""
        return 1

    def segment_count(self, _: int) -> int:
        """As many as there are arrays."""
        return len(self._segments)

    def get_signal_size(self, _: int, segment: int, __: int) -> int:
        """Samples of a segment."""
        return len(self._segments[segment])

    def get_signal_t_start(self, _: int, segment: int, __: int) -> float:
        """A segment each 100 s."""
        return 100.0 * segment

    def segment_t_start(self, _: int, segment: int) -> float:
        """Where its spikes begin."""
        return 100.0 * segment + 0.5

    def segment_t_stop(self, _: int, segment: int) -> float:
        """Where they end."""
        return 100.0 * segment + 2.0

    def get_analogsignal_chunk(
        self, _: int, segment: int, start: int, stop: int, stream: int, columns: list[int] | None
    ) -> NDArray[Any]:
        """Samples of a stream's channels."""
        ids = self.header["signal_channels"]["stream_id"]
        mine = np.flatnonzero(ids == self.header["signal_streams"]["id"][stream])
        if stop > len(self._segments[segment]):
            raise IndexError("beyond the end")
        return self._segments[segment][start:stop][:, mine][:, slice(None) if columns is None else columns]


def channel(
    name: str, unit: str = "uV", gain: float = 0.25, offset: float = 0.0, dtype: str = "int16"
) -> tuple[Any, ...]:
    return (name, name, 30_000.0, dtype, unit, gain, offset, "s")


def recording(reader: FakeReader, **facts: Any) -> RawRecording:
    return RawRecording(Path("fake.x"), Format("Fake", lambda _: reader, **facts))


RAW = np.arange(-3000, 3000, dtype=np.int16).reshape(-1, 3)


def test_samples_of_one_scale_stay_as_they_are() -> None:
    session = session_of(recording(FakeReader([channel("a"), channel("b"), channel("c")], RAW)))
    assert session.uv_per_bit == 0.25
    assert session.wideband(0, 2000).dtype == np.int16
    assert (session.wideband(7, 2000) == RAW[7:]).all()
    assert session.problems == ("the clock was set",)


def test_unsigned_samples_around_their_middle_become_signed_ones() -> None:
    raw = (RAW.astype(np.int32) + 32768).astype(np.uint16)
    rows = [channel(name, gain=0.195, offset=-32768 * 0.195, dtype="uint16") for name in "abc"]
    session = session_of(recording(FakeReader(rows, raw)))
    assert session.uv_per_bit == 0.195
    assert session.wideband(0, 2000).dtype == np.int16
    assert (session.wideband(0, 2000) == RAW).all()


def test_channels_of_different_scale_become_microvolts() -> None:
    rows = [channel("a", gain=0.5), channel("b", gain=2.0), channel("c", gain=0.5, offset=10.0)]
    session = session_of(recording(FakeReader(rows, RAW)))
    assert session.uv_per_bit == 1.0
    assert session.wideband(0, 1).dtype == np.float32
    assert session.wideband(0, 2000) == pytest.approx(RAW * [0.5, 2.0, 0.5] + [0, 0, 10], rel=1e-6)
    assert any("differ in scale or offset (0.5, 2 uV per bit)" in problem for problem in session.problems)


def test_volts_and_millivolts_are_converted_and_no_unit_is_said() -> None:
    assert session_of(recording(FakeReader([channel(n, "mV", 0.5) for n in "abc"], RAW)), "s").uv_per_bit == 500.0
    assert session_of(recording(FakeReader([channel(n, "V", 1e-6) for n in "abc"], RAW)), "s").uv_per_bit == 1.0
    unknown = session_of(recording(FakeReader([channel(n, "") for n in "abc"], RAW)), "s")
    assert unknown.uv_per_bit == 1.0
    assert any("gives no unit of voltage: 1.0 uV per bit is assumed" in problem for problem in unknown.problems)


def test_channels_of_different_units_are_streams_of_their_own() -> None:
    rows = [channel("elec1"), channel("ainp1", "mV", 0.15), channel("elec2")]
    fake = recording(FakeReader(rows, RAW))
    assert [stream.name for stream in fake.streams] == ["s uV", "s mV"]
    session = session_of(fake)
    assert [electrode.id for electrode in session.descriptor.electrodes] == ["elec1", "elec2"]
    assert (session.wideband(0, 2000) == RAW[:, [0, 2]]).all()
    assert (session_of(fake, "s mV").wideband(0, 2000) == RAW[:, [1]]).all()


def test_a_pause_makes_two_stretches_and_the_longer_is_opened() -> None:
    rows = [channel(name) for name in "abc"]
    fake = recording(FakeReader(rows, RAW[:500], RAW[500:]))
    session = session_of(fake)
    assert (session.wideband(0, session.n_samples) == RAW[500:]).all()
    assert any("2 stretches with gaps between them (0.000-0.017 s, 100.000-" in text for text in session.problems)
    assert (session_of(fake, "@1").wideband(0, 500) == RAW[:500]).all()
    assert session_of(fake, "s@2").problems == ("the clock was set",)


def test_names_that_come_twice_are_numbered() -> None:
    session = session_of(recording(FakeReader([channel("a"), channel("a"), channel("b")], RAW)))
    assert [electrode.id for electrode in session.descriptor.electrodes] == ["a-0", "a-1", "b-2"]


def test_spikes_count_from_the_clocks_zero_or_from_where_a_later_segment_begins() -> None:
    def spikes(_: FakeReader, place: Place) -> Spikes:
        times = np.array([0.6, 0.5, 1.999]) + 100.0 * place.segment
        return Spikes(times, np.array([1, 0, 1]), np.array([0, 2, 0]))

    reader = FakeReader([], RAW[:500], RAW[500:], spikes=2)
    fake = recording(reader, spikes=spikes, electrodes=lambda _: (("e1", "A"), ("e2", "A")))
    first = session_of(fake, "@1")
    assert first.events(0, first.n_samples).tolist() == [(15_000, 0, 2), (18_000, 1, 0), (59_970, 1, 0)]
    second = session_of(fake, "spikes@2")
    assert second.events(0, second.n_samples)["sample"].tolist() == [0, 3_000, 44_970]
    assert any("times count from 100.500 s" in problem for problem in second.problems)


def test_voltages_beside_spikes_have_to_be_chosen_between() -> None:
    fake = recording(
        FakeReader([channel(name) for name in "abc"], RAW, spikes=1),
        spikes=lambda *_: Spikes(np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64)),
        electrodes=lambda _: (("e1", ""),),
    )
    with pytest.raises(StreamChoiceError, match="got 2 that fit") as raised:
        session_of(fake)
    assert raised.value.choices == ("s", "spikes")
    assert session_of(fake, "spikes").kind == "events"


def test_a_file_that_ends_before_its_last_sample_is_refused_at_once() -> None:
    reader = FakeReader([channel(name) for name in "abc"], RAW)
    fake = recording(reader)
    reader._segments = (RAW[:100],)
    with pytest.raises(
        SessionError, match=r"fake\.x: expected a whole Fake recording; could not read samples 1999 to 2000"
    ):
        session_of(fake)


def test_as_many_sample_numbers_as_samples_are_expected() -> None:
    rows = [channel(name) for name in "abc"]
    with pytest.raises(SessionError, match="expected as many samples as sample numbers, 7, got 2000"):
        recording(FakeReader(rows, RAW), clock=lambda *_: np.arange(7))
