from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from cortexwire.errors import SessionError
from cortexwire.sessions import RecordedSession, open_session
from cortexwire.sessions.identities import bank_name
from tests.sessions.make_recordings import (
    CHANNELS,
    COUNTS_TOML,
    ROWS,
    counts_and_kinematics,
    counts_session,
    described,
)

WIDTH = 3000


def test_counts_become_events_that_count_back_to_themselves(tmp_path: Path) -> None:
    session = counts_session(tmp_path)
    assert (session.kind, session.n_channels, session.n_samples) == ("events", CHANNELS, ROWS * WIDTH)
    spikes = session.events(0, session.n_samples)
    again = np.zeros((ROWS, CHANNELS))
    np.add.at(again, (spikes["sample"] // WIDTH, spikes["channel"]), 1)
    assert (again == counts_and_kinematics()[0]).all()


def test_events_do_not_depend_on_the_ranges_in_which_they_are_read(tmp_path: Path) -> None:
    session = counts_session(tmp_path)
    whole = session.events(0, session.n_samples)
    cuts = np.sort(np.random.default_rng(0).integers(0, session.n_samples, 200))
    edges = [0, *cuts.tolist(), session.n_samples]
    parts = [session.events(a, b) for a, b in pairwise(edges)]
    assert (np.concatenate(parts) == whole).all()


def test_counts_can_stay_counts(tmp_path: Path) -> None:
    session = counts_session(tmp_path, COUNTS_TOML.replace('key = "Y"', 'key = "Y"\nstream = "counts"'))
    assert session.kind == "counts"
    edges, counts = session.counts(1, 2 * WIDTH + 1)
    assert edges.tolist() == [WIDTH, 2 * WIDTH, 3 * WIDTH]
    assert (counts == counts_and_kinematics()[0][1:3]).all()
    with pytest.raises(SessionError, match="expected a recording of events, got counts"):
        session.events(0, 1)


def test_recorded_bins_of_events_can_be_read_too(tmp_path: Path) -> None:
    assert (counts_session(tmp_path).counts(0, ROWS * WIDTH)[1] == counts_and_kinematics()[0]).all()


def test_trials_start_at_rows_of_zeros_and_partition_the_recording(tmp_path: Path) -> None:
    trials = counts_session(tmp_path).trials
    assert trials["start"].tolist() == [0, 10 * WIDTH, 20 * WIDTH, 30 * WIDTH]
    assert trials["stop"].tolist() == [10 * WIDTH, 20 * WIDTH, 30 * WIDTH, 40 * WIDTH]


def test_velocity_is_the_recorded_velocity_and_undefined_in_the_first_bin_of_a_trial(tmp_path: Path) -> None:
    session = counts_session(tmp_path)
    position, velocity = counts_and_kinematics()[1].T
    last = np.arange(1, ROWS + 1) * WIDTH - 1
    columns = session.columns_at(last)
    assert (columns[:, 0] == position).all()
    first = np.arange(ROWS) % 10 == 0
    assert np.isnan(columns[first, 1]).all()
    assert columns[~first, 1] == pytest.approx(velocity[~first])


def test_column_rows_stand_at_the_last_sample_of_each_period(tmp_path: Path) -> None:
    session = counts_session(tmp_path)
    samples, values = session.column_rows(0, session.n_samples)
    assert (samples % 300 == 299).all()
    assert values.dtype == np.float32
    assert values == pytest.approx(session.columns_at(samples), nan_ok=True)
    assert not np.isnan(values).all(axis=1).any()
    parts = [session.column_rows(a, a + 777)[0] for a in range(0, session.n_samples - 777, 777)]
    together = np.concatenate(parts)
    assert (together == samples[: len(together)]).all()


def test_a_range_outside_of_the_recording_is_refused(tmp_path: Path) -> None:
    session = counts_session(tmp_path)
    for start, stop in ((-1, 3), (5, 4), (0, session.n_samples + 1)):
        with pytest.raises(SessionError, match=rf"within \[0, {session.n_samples}\)"):
            session.events(start, stop)
    with pytest.raises(SessionError, match="expected a recording of wideband, got events"):
        session.wideband(0, 1)


def test_a_scale_turns_rates_into_counts_and_what_is_no_count_is_refused(tmp_path: Path) -> None:
    toml = 'file = "a.mat"\n[signal]\nkind = "counts"\nkey = "R"\nbin_ms = 50\nscale = 0.05\n'
    savemat(tmp_path / "a.mat", {"R": np.array([[20.0, 40.0], [0.0, 60.0]])})
    assert described(tmp_path, toml).counts(0, 3000)[1].tolist() == [[1, 2], [0, 3]]
    savemat(tmp_path / "a.mat", {"R": np.array([[20.0, 40.0], [0.0, 50.0]])})
    with pytest.raises(SessionError, match=r"key = 'R': expected whole counts.*got 2.5 in row 1, channel 1"):
        described(tmp_path, toml).events(0, 3000)


EVENTS_TOML = """
file = "a.mat"
[signal]
kind = "events"
times = "t"
channels = "c"
units = "u"
first_channel = 1
unit = "ms"
rate_hz = 1000
duration_s = 2
[kinematics]
times = "kt"
[columns]
x = { key = "k", scale = 2.0 }
"""


def events_session(folder: Path, **changes: object) -> RecordedSession:
    arrays: dict[str, object] = {
        "t": np.array([30.0, 10.0, 10.0, 1999.0]),
        "c": np.array([1, 3, 2, 1]),
        "u": np.array([0, 1, 2, 0]),
        "kt": np.array([0.0, 0.5, 1.5]),
        "k": np.array([0.0, 1.0, 3.0]),
    }
    savemat(folder / "a.mat", arrays | changes)
    return described(folder, EVENTS_TOML)


def test_lists_of_events_are_sorted_by_sample_and_channel(tmp_path: Path) -> None:
    session = events_session(tmp_path)
    assert (session.n_channels, session.n_samples, session.kind) == (3, 2000, "events")
    assert session.events(0, 2000).tolist() == [(10, 1, 2), (10, 2, 1), (30, 0, 0), (1999, 0, 0)]
    assert session.events(11, 1999)["sample"].tolist() == [30]


def test_kinematics_may_have_times_of_their_own(tmp_path: Path) -> None:
    values = events_session(tmp_path).columns_at(np.array([250, 500, 1000, 1500, 1501]))[:, 0]
    assert values[:4].tolist() == [1, 2, 4, 6]
    assert np.isnan(values[4])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"c": np.array([0, 1, 1, 1])}, r"signal\.channels: .*first_channel 1 from 0 to 0, got -1 to 0"),
        ({"t": np.array([30.0, 10.0, 10.0, 2000.0])}, r"signal\.times: expected samples from 0 to 1999"),
        ({"t": np.array([30.0])}, "as many channels and units as times"),
        ({"kt": np.array([0.0, 0.5])}, "expected 3 times, got 2"),
        ({"kt": np.array([0.0, 0.5, 0.5])}, "at least a sample apart"),
    ],
)
def test_events_that_do_not_fit_are_refused(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(SessionError, match=message):
        events_session(tmp_path, **changes)


def with_trials(folder: Path, rule: str, **arrays: object) -> RecordedSession:
    counts, kinematics = counts_and_kinematics()
    savemat(folder / "made.mat", {"Y": counts, "X": kinematics, **arrays})
    head = COUNTS_TOML[: COUNTS_TOML.index("[trials]")]
    return described(folder, head + "[trials]\n" + rule)


def test_a_table_of_times_marks_trials_without_cutting_the_recording(tmp_path: Path) -> None:
    table = np.array([[0.05, 1.0], [1.5, 2.25], [np.nan, 3.0], [3.9, 99.0]])
    session = with_trials(tmp_path, 'rule = "table"\nkey = "T"\n', T=table)
    assert session.trials.tolist() == [(1500, 30_000), (45_000, 67_500), (117_000, 120_000)]
    assert not np.isnan(session.columns_at(np.arange(3999, 120_000, 1000))).any()


def test_a_table_may_join_trials_and_count_rows_from_one(tmp_path: Path) -> None:
    rule = 'rule = "table"\nkey = "T"\nunit = "rows"\nfirst_row = 1\njoined = true\n'
    session = with_trials(tmp_path, rule, T=np.array([[1, 20], [31, 40]]))
    assert session.trials.tolist() == [(0, 60_000), (90_000, 120_000)]
    assert np.isnan(session.columns_at(np.array([70_000]))).all()


def test_a_table_may_lie_in_another_file(tmp_path: Path) -> None:
    (tmp_path / "trials.csv").write_text("go,end\n0,1\n2,3\n")
    session = with_trials(tmp_path, 'rule = "table"\nkey = "*"\nfile = "trials.csv"\n')
    assert session.trials.tolist() == [(0, 30_000), (60_000, 90_000)]


def test_a_column_that_changes_marks_trials(tmp_path: Path) -> None:
    session = with_trials(tmp_path, 'rule = "change"\nkey = "n"\n', n=np.repeat((7, 9, 8), (5, 15, 20)))
    assert session.trials["start"].tolist() == [0, 5 * WIDTH, 20 * WIDTH]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ('rule = "zero_rows"\nkey = "X"\ncolumns = [2]\n', "expected columns below 2, got 2"),
        ('rule = "zero_rows"\nkey = "X"\ncolumns = [0]\n', "at least one row that starts a trial, got none"),
        ('rule = "table"\nkey = "T"\nstop = 5\n', "expected columns below 2, got 5"),
        ('rule = "table"\nkey = "T"\nstart = 1\nstop = 0\n', r"expected stop >= start, got 2\.0 to 1\.0 in trial 0"),
        ('rule = "table"\nkey = "B"\n', "expected trials in order, got trial 1 before trial 0"),
        ('rule = "table"\nkey = "T"\nunit = "rows"\nfirst_row = 2\n', "expected rows from 0 to 40, got -1"),
        ('rule = "odd"\nkey = "T"\n', r"Invalid value 'odd' - at `trials\.rule`"),
        ('rule = "table"\nkey = "T"\nstrat = 1\n', r"unknown field `strat` - at `trials`"),
    ],
)
def test_trial_rules_that_do_not_fit_are_refused(tmp_path: Path, rule: str, message: str) -> None:
    with pytest.raises(SessionError, match=message):
        with_trials(tmp_path, rule, T=np.array([[1.0, 2.0]]), B=np.array([[2.0, 2.5], [1.0, 1.5]]))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("bin_ms = 100", "bin_ms = 0", r"signal\.bin_ms: expected a positive number, got 0"),
        ("bin_ms = 100", 'bin_ms = 100\nrate_hz = "x"', r"signal\.rate_hz"),
        ("bin_ms = 100", "bin_ms = 0.01", r"signal\.bin_ms: expected rows of at least one sample"),
        ("bin_ms = 100", "", r"missing required field `bin_ms` - at `signal`"),
        ('key = "Y"', 'key = "Z"', "expected an array named 'Z', the file has X, Y"),
        ("column = 0", "column = 2", r"columns\.px: expected columns below 2, got 2"),
        ('key = "X", column = 0', 'unit = "mm"', "duplicate|Cannot overwrite|expected a readable TOML"),
        ('{ key = "X", column = 0, unit = "mm" }', "{ }", r"columns\.px: expected key or derivative_of"),
        ('derivative_of = "px"', 'derivative_of = "q"', r"columns\.vx: expected derivative_of one of px, and no key"),
        ('derivative_of = "px"', 'derivative_of = "px", key = "X"', r"columns\.vx: .*got 'X'"),
        ("[columns]", '[electrodes]\nnames = ["a"]\n[columns]', "electrodes: expected 5 identities, got 1"),
        ("[columns]", '[electrodes]\nkey = "X"\ncolumn = 4\n[columns]', r"electrodes\.key: expected a column 4"),
        ("[columns]", "[kinematics]\nrow_ms = -1\n[columns]", "kinematics: expected a positive number"),
        ("[columns]", '[electrodes]\nnames = ["a","a","b","c","d"]\n[columns]', "expected unique electrode ids"),
        ('file = "made.mat"', 'file = "gone.mat"', r"file = 'gone\.mat': not found in .*CORTEXWIRE_DATA"),
        ('kind = "counts"', 'kind = "wideband"', "unknown field `bin_ms` - at `signal`"),
    ],
)
def test_tomls_that_do_not_fit_are_refused_with_the_place(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in COUNTS_TOML
    with pytest.raises(SessionError, match=message) as caught:
        counts_session(tmp_path, COUNTS_TOML.replace(old, new, 1))
    assert "made.mat" in str(caught.value) or "session.toml" in str(caught.value)


def test_kinematics_need_as_many_rows_as_the_counts(tmp_path: Path) -> None:
    counts, kinematics = counts_and_kinematics()
    savemat(tmp_path / "made.mat", {"Y": counts, "X": kinematics[:-1]})
    with pytest.raises(SessionError, match="kinematics: expected 40 rows like the signal, got 39"):
        described(tmp_path, COUNTS_TOML)
    savemat(tmp_path / "made.mat", {"Y": counts, "X": kinematics, "Z": np.zeros(3)})
    with pytest.raises(SessionError, match=r"columns\.pz: expected 40 rows like px, got 3"):
        described(tmp_path, COUNTS_TOML.replace("vx =", 'pz = { key = "Z" }\nvx ='))
    with pytest.raises(SessionError, match="got derivatives only"):
        described(tmp_path, 'file = "made.mat"\n[columns]\nv = { derivative_of = "p" }\n' + SIGNAL)


SIGNAL = '[signal]\nkind = "counts"\nkey = "Y"\nbin_ms = 100\n'


def test_kinematics_may_be_finer_than_the_counts_and_anchored_anywhere(tmp_path: Path) -> None:
    savemat(tmp_path / "made.mat", {"Y": np.ones((4, 2)), "K": np.arange(20.0)})
    for anchor, sample in (("start", 600), ("centre", 899), ("end", 1199)):
        for width in ("row_ms = 20", "rate_hz = 50"):
            toml = f'file = "made.mat"\n{SIGNAL}[kinematics]\n{width}\nanchor = "{anchor}"\n'
            session = described(
                tmp_path, toml + '[columns]\nk = { key = "K" }\ns = { key = "K", interpolate = "step" }\n'
            )
            assert session.columns_at(np.array([sample])).tolist() == [[1.0, 1.0]]


def test_wideband_in_a_file_keeps_int16_and_makes_floats_of_the_rest(tmp_path: Path) -> None:
    whole = np.arange(20, dtype=np.int16).reshape(2, 10)
    savemat(tmp_path / "made.mat", {"w": whole, "d": whole.astype(np.float64)})
    toml = 'file = "made.mat"\n[signal]\nkind = "wideband"\nkey = "w"\nrate_hz = 24414.0625\nuv_per_bit = 0.25\n'
    toml += 'orientation = "channels_first"\n'
    session = described(tmp_path, toml)
    assert (session.n_samples, session.n_channels, session.problems) == (10, 2, ())
    assert session.rate == (390625, 16)
    assert (session.wideband(3, 5) == whole.T[3:5]).all()
    assert session.wideband(3, 5).dtype == np.int16
    assert described(tmp_path, toml.replace('"w"', '"d"')).wideband(0, 1).dtype == np.float32
    with pytest.raises(SessionError, match="signal: expected rate_hz for wideband in a file"):
        described(tmp_path, toml.replace("rate_hz = 24414.0625\n", ""))
    with pytest.raises(SessionError, match="expected row_ms, rate_hz or times"):
        described(tmp_path, toml + '[columns]\nx = { key = "d" }\n')
    with pytest.raises(SessionError, match="expected a positive uv_per_bit, got 0"):
        described(tmp_path, toml.replace("0.25", "0.0"))


def test_the_recording_is_found_in_data_then_beside_the_toml_then_by_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, rows in (("given", 1), ("beside", 2), ("environment", 3)):
        (tmp_path / name).mkdir()
        savemat(tmp_path / name / "made.mat", {"Y": np.ones((rows, 2))})
    monkeypatch.setenv("CORTEXWIRE_DATA", str(tmp_path / "environment"))
    toml = tmp_path / "beside" / "one.toml"
    toml.write_text('file = "made.mat"\n' + SIGNAL)
    assert open_session(toml, tmp_path / "given").n_samples == WIDTH
    assert open_session(toml).n_samples == 2 * WIDTH
    (tmp_path / "beside" / "made.mat").unlink()
    assert open_session(str(toml)).n_samples == 3 * WIDTH
    assert open_session(toml).name == "one"


def test_a_folder_with_a_session_toml_is_opened_by_it(tmp_path: Path) -> None:
    counts_session(tmp_path)
    assert open_session(tmp_path).name == "made"


def test_what_is_no_toml_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mat").write_text("")
    with pytest.raises(
        SessionError,
        match=r"expected a recording of a known format, got a file of none \(describe it in a session\.toml\)",
    ):
        open_session(tmp_path / "a.mat")
    with pytest.raises(SessionError, match="expected a readable TOML file"):
        open_session(tmp_path / "gone.toml")
    (tmp_path / "b.toml").write_text("file = \n")
    with pytest.raises(SessionError, match=r"line 1"):
        open_session(tmp_path / "b.toml")


def test_an_empty_recording_is_refused(tmp_path: Path) -> None:
    savemat(tmp_path / "made.mat", {"Y": np.zeros((0, 3))})
    with pytest.raises(SessionError, match="signal: expected 1 to 65535 channels and a sample, got"):
        described(tmp_path, 'file = "made.mat"\n' + SIGNAL)


def test_banks_are_named_like_columns_of_a_sheet() -> None:
    assert [bank_name(number) for number in (0, 25, 26, 51, 52, 702)] == ["A", "Z", "AA", "AZ", "BA", "AAA"]
