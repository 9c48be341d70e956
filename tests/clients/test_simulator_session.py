"""The simulated rig as a session, and as a source on the command line."""

import numpy as np
import pytest

from cortexwire.clients.simulator import COLUMN_NAMES, SimulatedSession, SimulatorSettings, parse_source
from cortexwire.errors import ConfigError, SessionError
from cortexwire.sessions import Session, session_packets
from cortexwire.wire import Kind, decode_packet


def a_session(seconds: float = 3.0) -> SimulatedSession:
    return SimulatedSession(SimulatorSettings(channels=4), seconds)


def test_a_simulated_session_is_a_session() -> None:
    session: Session = a_session()
    assert (session.kind, session.n_channels, session.n_samples, session.rate.hz) == (
        "wideband",
        4,
        90_000,
        30_000,
    )
    assert session.uv_per_bit == session.descriptor.uv_per_bit == 0.25
    assert session.column_names == session.descriptor.columns == COLUMN_NAMES
    assert session.name == "sim:channels=4,subject=7,seed=1"
    assert len(session.problems) == 0
    assert session.wideband(89_000, 90_000).shape == (1000, 4)


def test_trials_are_whole_ordered_and_touch() -> None:
    trials = a_session(10.0).trials
    assert trials["start"][0] == 0
    assert np.array_equal(trials["start"][1:], trials["stop"][:-1])
    assert trials["stop"][-1] <= 300_000
    assert 6 <= len(trials) <= 20


def test_columns_at_any_sample_agree_with_the_rows_and_end_with_the_session() -> None:
    session = a_session()
    samples, values = session.column_rows(100, 5000)
    assert np.array_equal(session.columns_at(samples).astype(np.float32), values)
    assert np.isnan(session.columns_at(np.array([-1, 90_000]))).all()


@pytest.mark.parametrize(("start", "stop"), [(-1, 5), (0, 90_001), (6, 5)])
def test_a_range_outside_is_refused(start: int, stop: int) -> None:
    with pytest.raises(SessionError, match="expected a range within"):
        a_session().wideband(start, stop)
    with pytest.raises(SessionError, match="expected a range within"):
        a_session().column_rows(start, stop)


def test_other_kinds_are_refused() -> None:
    with pytest.raises(SessionError, match="expected a recording of events, got wideband"):
        a_session().events(0, 5)
    with pytest.raises(SessionError, match="expected a recording of counts, got wideband"):
        a_session().counts(0, 5)


def test_a_session_without_samples_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least one sample"):
        a_session(0.0)


def test_its_packets_hold_its_samples() -> None:
    session = a_session(0.2)
    packets = [decode_packet(frame) for frame in session_packets(session, 170, epoch=1)]
    signal = [packet.data for packet in packets if packet.kind == Kind.WIDEBAND]
    assert np.array_equal(np.concatenate(signal), session.wideband(0, 6000))


def test_a_source_names_settings_and_length() -> None:
    session = parse_source("sim:channels=12,seconds=2.5,seed=9,lfp=false,rate_hz=24414.0625")
    assert session.settings == SimulatorSettings(channels=12, seed=9, lfp=False, rate_hz=24414.0625)
    assert session.n_samples == 61_035
    assert parse_source("sim").n_samples == 60 * 30_000
    assert parse_source("sim:").settings == SimulatorSettings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file.toml", "expected 'sim:key=value"),
        ("sim:channels", "expected key=value once for each key, got 'channels'"),
        ("sim:seed=1,seed=2", "once for each key, got 'seed=2'"),
        ("sim:channels=0", "channels: .*greater than or equal to 1.*got '0'"),
        ("sim:colour=red", "there is no setting 'colour'; expected one of seconds"),
        ("sim:seconds=long", "number of seconds"),
        ("sim:seconds=-1", "at least one sample"),
    ],
)
def test_a_wrong_source_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_source(text)
