"""Export and reading are inverse, and what is written is what the format's own tools call good."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cortexwire.clients.simulator import parse_source
from cortexwire.config import load_config
from cortexwire.errors import ConfigError
from cortexwire.runtime.assembly import assemble
from cortexwire.runtime.nwb_export import MARK_DTYPE, Recording, Subject, decoded_recording, export_nwb
from cortexwire.runtime.nwb_export.crossings import Stretch
from cortexwire.runtime.offline import decode_frames
from cortexwire.runtime.shipped import reference_bundle
from cortexwire.sessions import RecordedSession, Session, session_packets
from cortexwire.sessions.kinematics import Column, Kinematics, Rows
from cortexwire.sessions.matrix import ArrayMatrix
from cortexwire.sessions.nwb import nwb_streams, open_nwb
from cortexwire.sessions.session import SPIKE_DTYPE, TRIAL_DTYPE
from cortexwire.sessions.signals import EventSignal, WidebandSignal
from cortexwire.types import Rate
from cortexwire.wire import Descriptor, Electrode, OutKind, Output

pynwb = pytest.importorskip("pynwb")
SOURCE = "sim:channels=96,seconds=4,seed=11"
START = datetime(2024, 5, 1, 10, 30, tzinfo=timezone(timedelta(hours=2)))
QUICK = {"threshold": {"calibration_s": 1.0}}


def complaints(path: Path) -> list[str]:
    """What the format's validator says, and the inspector of its best practices, suggestions apart."""
    nwbinspector = pytest.importorskip("nwbinspector")
    best = nwbinspector.Importance.BEST_PRACTICE_SUGGESTION
    found = [message for message in nwbinspector.inspect_nwbfile(nwbfile_path=path) if message.importance is not best]
    errors = [str(error) for error in pynwb.validate(path=path)]
    return errors + [f"{each.importance.name} {each.check_function_name}: {each.message}" for each in found]


def suggestions(path: Path) -> set[str]:
    nwbinspector = pytest.importorskip("nwbinspector")
    return {message.check_function_name for message in nwbinspector.inspect_nwbfile(nwbfile_path=path)}


def made(
    rate: Rate,
    dtype: str,
    *,
    n_samples: int = 4000,
    uv_per_bit: float = 0.25,
    electrodes: tuple[Electrode, ...] = (),
    kind: str = "wideband",
    seed: int = 0,
) -> RecordedSession:
    """A session in memory with columns and trials."""
    rng = np.random.default_rng(seed)
    n_channels = len(electrodes) or 5
    data = rng.integers(-(2**15), 2**15, (n_samples, n_channels)).astype(dtype)
    signal: Any = WidebandSignal(ArrayMatrix(data * (0.3 if dtype == "<f4" else 1)))
    if kind == "events":
        spikes = np.zeros(60, SPIKE_DTYPE)
        spikes["sample"] = rng.choice(n_samples, 60)
        spikes["channel"], spikes["unit"] = rng.integers(0, n_channels - 1, 60), rng.integers(0, 3, 60)
        spikes = np.unique(spikes)
        signal, uv_per_bit = EventSignal(spikes, n_channels, n_samples), 1.0
    step = max(1, round(rate.hz / 100))
    anchors = np.arange(step - 1, n_samples, step)
    edges = Rows(anchors, anchors - step + 1, anchors + 1, np.zeros(len(anchors), np.int64))
    columns = [
        Column("x, y", 0, "linear", unit="cm"),
        Column("vx", 1, "linear", unit="cm/s"),
        Column("grip", 2, "linear"),
    ]
    values = rng.normal(size=(len(anchors), 3)).astype(np.float32).astype(np.float64)
    kinematics = Kinematics(columns, edges, values, rate)
    trials = np.array([(10, n_samples // 2), (n_samples // 2, n_samples)], TRIAL_DTYPE)
    names = tuple(column.name for column in columns)
    descriptor = Descriptor("made", electrodes, uv_per_bit, "the skull screw" if electrodes else "", names)
    return RecordedSession("made", rate, signal, descriptor, kinematics, trials)


def check_equal(was: Session, came: Session) -> None:
    """All that a stream of the one would have is a stream of the other, bit for bit."""
    assert (came.kind, came.rate, came.n_channels, came.n_samples) == (
        was.kind,
        was.rate,
        was.n_channels,
        was.n_samples,
    )
    assert came.uv_per_bit == was.uv_per_bit
    assert came.descriptor.electrodes == was.descriptor.electrodes
    assert came.descriptor.reference == was.descriptor.reference
    if was.kind == "wideband":
        one, other = was.wideband(0, was.n_samples), came.wideband(0, was.n_samples)
        assert (other.dtype, other.tobytes()) == (one.dtype, one.tobytes())
    else:
        assert came.events(0, was.n_samples).tobytes() == was.events(0, was.n_samples).tobytes()
    np.testing.assert_array_equal(came.trials, was.trials)
    order = [came.column_names.index(name) for name in was.column_names]
    rows, values = was.column_rows(0, was.n_samples)
    came_rows, came_values = came.column_rows(0, came.n_samples)
    np.testing.assert_array_equal(came_rows, rows)
    np.testing.assert_array_equal(came_values[:, order], values)


names = st.lists(st.text("abcäµ -_#09", min_size=1, max_size=8).map(str.strip).filter(bool), unique=True, max_size=6)
rates = st.one_of(
    st.sampled_from([Fraction(30_000), Fraction(390_625, 16), Fraction(19_531), Fraction(1000)]),
    st.builds(Fraction, st.integers(10**6, 10**8), st.integers(1, 1000)).filter(lambda f: 800 < f < 100_000),
)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rate=rates,
    form=st.sampled_from([("<i2", "wideband"), ("<f4", "wideband"), ("<i2", "events")]),
    uv_per_bit=st.floats(1e-4, 1e3),
    ids=names,
    banked=st.booleans(),
)
def test_whatever_is_exported_comes_back_bit_for_bit(
    tmp_path: Path, rate: Fraction, form: tuple[str, str], uv_per_bit: float, ids: list[str], banked: bool
) -> None:
    electrodes = tuple(Electrode(name, "AB"[n % 2] if banked else "") for n, name in enumerate(ids))
    if len(electrodes) < 2:
        electrodes = ()
    dtype, kind = form
    was = made(Rate.from_hz(rate), dtype, uv_per_bit=uv_per_bit, electrodes=electrodes, kind=kind)
    path = tmp_path / "made.nwb"
    export_nwb(Recording(was, started=START), path, replace=True)
    check_equal(was, open_nwb(path))


@pytest.mark.parametrize(("dtype", "kind"), [("<i2", "wideband"), ("<f4", "wideband"), ("<i2", "events")])
def test_files_are_clean_in_both_validators(tmp_path: Path, dtype: str, kind: str) -> None:
    session = made(Rate(390_625, 16), dtype, kind=kind, electrodes=tuple(Electrode(f"e{n}", "A") for n in range(5)))
    marks = np.array([(100, 300, 1.5), (2000, 301, np.nan)], MARK_DTYPE)
    gaps = np.array([(500, 700), (900, 950)])
    session = replace(session, gaps=gaps)
    recording = Recording(session, started=START, marks=marks)
    subject = Subject("M1", "Macaca mulatta", "P8Y", "F", "made up")
    general = {"experimenter": ["Doe, Jane"], "institution": "x", "lab": "y", "experiment_description": "z"}
    export_nwb(recording, tmp_path / "made.nwb", subject, general=general)
    assert complaints(tmp_path / "made.nwb") == []
    assert suggestions(tmp_path / "made.nwb") <= {"check_column_binary_capability"}
    again = open_nwb(tmp_path / "made.nwb")
    assert "250 samples are missing, in 2 gap(s)" in again.problems
    np.testing.assert_array_equal(again.gaps, gaps)
    if kind == "wideband":
        assert not again.wideband(500, 700).any()
        np.testing.assert_array_equal(again.wideband(700, 900), session.wideband(700, 900))


@pytest.fixture(scope="module")
def decoded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Output]]:
    """A simulated session with what the reference bundle decodes of it, and that again."""
    path = tmp_path_factory.mktemp("nwb") / "sim.nwb"
    config = load_config(None, flags={"bundle": reference_bundle(), "front_end": QUICK})
    recording = decoded_recording(Recording(parse_source(SOURCE), started=START), config)
    outputs = list(recording.outputs)
    written = export_nwb(replace(recording, outputs=outputs), path)
    assert written["decoded_bins"] == sum(output.kind is OutKind.DECODED for output in outputs)
    return path, outputs


def test_decoding_the_export_gives_the_same_outputs(decoded: tuple[Path, list[Output]]) -> None:
    path, outputs = decoded
    session = open_nwb(path)
    check_equal(parse_source(SOURCE), session)
    config = load_config(None, flags={"bundle": reference_bundle(), "front_end": QUICK})
    again = list(decode_frames(assemble(config, live=False).pipeline, session_packets(session, 333, 1)))
    assert [(o.kind, o.bin) for o in again] == [(o.kind, o.bin) for o in outputs]
    for one, other in zip(outputs, again, strict=True):
        for name, tensor in one.tensors.items():
            assert other.tensors[name].tobytes() == tensor.tobytes()


def test_units_of_the_export_are_the_counts_of_its_bins(decoded: tuple[Path, list[Output]]) -> None:
    path, outputs = decoded
    session = open_nwb(f"{path}#units")
    edges = [600 * output.bin for output in outputs if output.kind is OutKind.DECODED]
    counts = [output.tensors["counts"] for output in outputs if output.kind is OutKind.DECODED]
    for start, wanted in zip(edges, counts, strict=True):
        came = np.bincount(session.events(start, start + 600)["channel"], minlength=96)
        np.testing.assert_array_equal(came, wanted)


def test_the_simulated_export_is_clean_and_holds_what_was_decoded(decoded: tuple[Path, list[Output]]) -> None:
    path, outputs = decoded
    assert complaints(path) == []
    made_of = [output for output in outputs if output.kind is OutKind.DECODED]
    with pynwb.NWBHDF5IO(path, "r") as io:
        file = io.read()
        velocity = file.processing["misc"]["decoded_velocity"]
        np.testing.assert_array_equal(velocity.data[:], np.stack([o.tensors["velocity"] for o in made_of]))
        assert velocity.unit == "cm/s"
        assert velocity.starting_time == made_of[0].end_sample / 30_000
        assert velocity.rate == 50.0
        assert file.session_start_time == START
        assert "cortexwire" in file.was_generated_by[0][0]
        assert '"front_end"' in file.scratch["configuration"].data
        assert set(file.units["sorting"].data[:]) == {"unsorted threshold crossings"}
        assert (file.units["threshold_uv"].data[:] < 0).all()
        raw = file.acquisition["ElectricalSeries"].data
        assert (raw.compression, raw.dtype, raw.chunks is not None) == ("gzip", np.int16, True)
    names = {stream.name: stream.kind for stream in nwb_streams(path)}
    assert names["decoded_velocity"] == "other"
    assert names["Position/position"] == "columns"


def test_where_bins_were_not_whole_is_in_the_file(tmp_path: Path, decoded: tuple[Path, list[Output]]) -> None:
    config = load_config(None, flags={"bundle": reference_bundle(), "front_end": QUICK})
    recording = decoded_recording(Recording(parse_source(SOURCE), started=START), config)
    assert recording.crossings is not None
    stretches = (Stretch(60_000, 61_200, "partial", 1000, 100, 100), Stretch(61_200, 61_800, "missing", 0, 600, 0))
    recording = replace(recording, crossings=replace(recording.crossings, stretches=stretches), outputs=())
    export_nwb(recording, tmp_path / "holes.nwb")
    assert complaints(tmp_path / "holes.nwb") == []
    with pynwb.NWBHDF5IO(tmp_path / "holes.nwb", "r") as io:
        table = io.read().intervals["validity"]
        assert list(table["label"].data[:]) == ["partial", "missing"]
        assert table["stop_time"].data[:].tolist() == [2.04, 2.06]


def test_a_file_is_whole_or_not_there_and_none_is_lost(tmp_path: Path) -> None:
    session = made(Rate(30_000), "<i2")
    path = tmp_path / "made.nwb"
    export_nwb(Recording(session, started=START), path)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="expected a new file, there is one already"):
        export_nwb(Recording(session, started=START), path)

    def stop(_share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_nwb(Recording(session, started=START), path, replace=True, progress=stop)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["made.nwb"]


def test_what_cannot_be_exported_is_refused(tmp_path: Path) -> None:
    session = made(Rate(30_000), "<i2")
    with pytest.raises(ConfigError, match=r"a name that ends in \.nwb"):
        export_nwb(Recording(session), tmp_path / "made.h5")
    with pytest.raises(ConfigError, match="bundle: expected the folder"):
        decoded_recording(Recording(session), load_config(None))


def test_banks_whose_names_no_path_can_hold_come_back(tmp_path: Path) -> None:
    banks = ("A/1", "A_1", "A:1", "", "electrodes")
    session = made(Rate(30_000), "<i2", electrodes=tuple(Electrode(f"e{n}", bank) for n, bank in enumerate(banks)))
    export_nwb(Recording(session, started=START), tmp_path / "made.nwb")
    check_equal(session, open_nwb(tmp_path / "made.nwb"))


def test_an_unknown_start_is_said_in_the_file(tmp_path: Path) -> None:
    export_nwb(Recording(made(Rate(30_000), "<i2")), tmp_path / "made.nwb")
    with pynwb.NWBHDF5IO(tmp_path / "made.nwb", "r") as io:
        file = io.read()
        assert "session_start_time was not known" in file.notes
        assert abs(file.session_start_time - datetime.now(UTC)) < timedelta(hours=1)
