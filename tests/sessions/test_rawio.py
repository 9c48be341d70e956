import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from cortexwire.errors import SessionError
from cortexwire.sessions import RecordedSession, open_session
from cortexwire.sessions.library import describe, recordings_in
from cortexwire.sessions.opening import find_recording
from cortexwire.sessions.rawio import recognise
from cortexwire.sessions.rawio.formats import Flat
from cortexwire.sessions.rawio.opening import split_choice
from cortexwire.sessions.rawio.recording import _runs, exact_rate
from tests.sessions.make_recordings import wav_folder, write_wav
from tests.sessions.samples import OPEN_EPHYS, SPIKEGLX, sample

pytest.importorskip("neo", reason="needs neo: pip install 'cortexwire[io]'")


def nev(recordings: Path) -> Path:
    return recordings / "blackrock_nev" / "example_1.nev"


@pytest.fixture
def open_ephys(tmp_path: Path) -> Path:
    """A copy of one record node of a real recording, to be damaged."""
    node = sample(OPEN_EPHYS) / "tests" / "data" / "v0.6.7_Binary" / "Record Node 105"
    return Path(shutil.copytree(node, tmp_path / node.name))


def continuous(node: Path) -> Path:
    return next(node.rglob("continuous.dat")).parent


@pytest.fixture
def spikeglx(tmp_path: Path) -> Path:
    """A run of which SpikeGLX wrote the `.meta` and IBL's library the samples."""
    fixtures = sample(SPIKEGLX) / "src" / "tests" / "fixtures"
    writer = pytest.importorskip("spikeglx", reason="needs ibl-neuropixel, an independent writer of SpikeGLX files")
    folder = tmp_path / "run_g0"
    folder.mkdir()
    meta = fixtures / "sample3B_g0_t0.imec1.ap.meta"
    writer._mock_spikeglx_file(folder / "run_g0_t0.imec1.ap.bin", meta, ns=40_000, nc=385, sync_depth=16, random=True)
    return folder


@pytest.mark.realdata
def test_a_nev_file_is_an_event_stream_with_the_ticks_that_it_holds(recordings: Path) -> None:
    session = open_session(nev(recordings))
    assert (session.kind, session.rate.hz, session.n_channels) == ("events", 30_000, 96)
    spikes = session.events(0, session.n_samples)
    raw = nev(recordings).read_bytes()
    start, size = np.frombuffer(raw, "<u4", 2, 12).tolist()
    packet = np.dtype(
        {"names": ["t", "id", "unit"], "formats": ["<u4", "<u2", "u1"], "offsets": [0, 4, 6], "itemsize": size}
    )
    packets = np.frombuffer(raw, packet, (len(raw) - start) // size, start)
    wanted = packets[packets["id"] > 0]
    order = np.lexsort((wanted["unit"], wanted["id"], wanted["t"]))
    assert len(spikes) == 14_210
    assert (spikes["sample"] == wanted["t"][order]).all()
    assert (spikes["channel"] + 1 == wanted["id"][order]).all()
    assert (spikes["unit"] == wanted["unit"][order]).all()
    assert [(e.id, e.bank) for e in session.descriptor.electrodes][31:33] == [("chan32", "A"), ("chan33", "B")]
    assert any("bank D, E" in problem for problem in session.problems)


@pytest.mark.realdata
def test_a_nev_file_cut_off_says_what_it_lost(recordings: Path, tmp_path: Path) -> None:
    whole = nev(recordings).read_bytes()
    start, size = np.frombuffer(whole, "<u4", 2, 12).tolist()
    cut = tmp_path / "cut.nev"
    cut.write_bytes(whole[: start + 1000 * size + 17])
    session = open_session(cut)
    assert any("its last 17 bytes are left out" in problem for problem in session.problems)
    assert len(session.events(0, session.n_samples)) <= 1000
    for length in (0, 10, 300, start - 40):
        cut.write_bytes(whole[:length])
        with pytest.raises(SessionError, match=r"cut\.nev: expected a whole Blackrock recording"):
            open_session(cut)


@pytest.mark.realdata
def test_noise_in_a_nev_file_is_an_error_and_nothing_else(recordings: Path, tmp_path: Path) -> None:
    whole = bytearray(nev(recordings).read_bytes())
    random = np.random.default_rng(0)
    for trial in range(40):
        broken = bytearray(whole)
        for at in random.integers(0, 2000 if trial % 2 else len(whole), 30).tolist():
            broken[at] = int(random.integers(0, 256))
        (tmp_path / "broken.nev").write_bytes(broken)
        with suppress(SessionError):
            session = open_session(tmp_path / "broken.nev")
            session.events(0, session.n_samples)


def test_open_ephys_samples_are_those_of_its_file(open_ephys: Path) -> None:
    session = open_session(open_ephys)
    recorded = np.fromfile(continuous(open_ephys) / "continuous.dat", "<i2").reshape(-1, 16)
    assert (session.kind, session.rate.hz, session.n_channels) == ("wideband", 40_000, 16)
    assert session.n_samples == len(recorded)
    assert session.uv_per_bit == pytest.approx(0.05)
    assert session.descriptor.electrodes[15].id == "CH16"
    for start, stop in ((0, 1), (0, len(recorded)), (99_999, 100_007), (len(recorded) - 5, len(recorded))):
        read = session.wideband(start, stop)
        assert read.dtype == np.int16
        assert (read == recorded[start:stop]).all()
    assert session.problems == ()


def test_samples_that_open_ephys_lost_are_never_joined(open_ephys: Path) -> None:
    file = continuous(open_ephys) / "sample_numbers.npy"
    numbers = np.load(file)
    numbers[50_000:] += 20_000
    numbers[120_000:] += 1
    np.save(file, numbers)
    recorded = np.fromfile(continuous(open_ephys) / "continuous.dat", "<i2").reshape(-1, 16)
    session = open_session(open_ephys)
    assert session.n_samples == 70_000
    assert any("3 stretches with gaps between them" in problem for problem in session.problems)
    assert (session.wideband(0, 70_000) == recorded[50_000:120_000]).all()
    third = open_session(f"{open_ephys}#@3")
    assert (third.wideband(0, third.n_samples) == recorded[120_000:]).all()
    with pytest.raises(SessionError, match="expected a stretch from 1 to 3, got 4"):
        open_session(f"{open_ephys}#@4")


def test_an_open_ephys_recording_that_was_cut_off_is_refused(open_ephys: Path) -> None:
    file = continuous(open_ephys) / "continuous.dat"
    file.write_bytes(file.read_bytes()[:1_000_000])
    with pytest.raises(SessionError, match="expected as many samples as sample numbers, 131362, got 31250"):
        open_session(open_ephys)
    (entry,) = describe(open_ephys, open_ephys.parent)
    assert entry.error is not None
    assert entry.format == "Open Ephys binary"


def test_several_streams_are_named_and_one_has_to_be(tmp_path: Path) -> None:
    folder = sample(OPEN_EPHYS) / "tests" / "data" / "v0.6.7_Binary"
    with pytest.raises(SessionError, match=r"name one as v0\.6\.7_Binary#STREAM: 'Record Node 101#File_Reader-100"):
        open_session(folder)
    assert open_session(f"{folder}#Node 105").n_samples == 131_362
    named = open_session(f"{folder}#Record Node 101#File_Reader-100.example_data")
    assert (named.wideband(0, 3) == open_session(folder / "Record Node 101").wideband(0, 3)).all()
    with pytest.raises(SessionError, match="expected a stream 'nothing', got none"):
        open_session(f"{folder}#nothing")
    entries = describe(folder, folder.parent)
    assert [entry.error for entry in entries] == [None, None]
    assert open_session(folder.parent / entries[1].name).n_channels == 16


def test_spikeglx_voltages_are_those_of_an_independent_reader(spikeglx: Path) -> None:
    other = pytest.importorskip("spikeglx")
    session = open_session(spikeglx)
    with other.Reader(spikeglx / "run_g0_t0.imec1.ap.bin") as reader:
        volts = reader[1000:1200, :384]
        assert session.rate.hz == pytest.approx(reader.fs, abs=1e-6)
    assert (session.kind, session.n_channels, session.n_samples) == ("wideband", 384, 40_000)
    assert session.wideband(0, 9).dtype == np.int16
    assert session.wideband(1000, 1200) * session.uv_per_bit == pytest.approx(volts * 1e6, rel=1e-5)
    electrode = session.descriptor.electrodes[0]
    assert (electrode.id, electrode.bank) == ("AP0", "imec1")


def test_a_spikeglx_file_shorter_than_its_meta_is_refused(spikeglx: Path) -> None:
    file = next(spikeglx.glob("*.bin"))
    file.write_bytes(file.read_bytes()[:-770])
    with pytest.raises(SessionError, match=r"30800000 bytes stated in its \.meta, the file has 30799230"):
        open_session(spikeglx)


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("a.nev", "Blackrock"),
        ("a.NS6", "Blackrock"),
        ("a.rhd", "Intan"),
        ("a.rhs", "Intan"),
        ("a.plx", "Plexon"),
        ("a.rec", "SpikeGadgets"),
    ],
)
def test_files_that_are_not_what_their_suffix_says_are_session_errors(tmp_path: Path, name: str, format: str) -> None:
    file = tmp_path / name
    for content in (b"", b"NEURALCD", b"\x00" * 5000, np.random.default_rng(1).bytes(20_000)):
        file.write_bytes(content)
        found = recognise(file)
        assert found is not None
        assert found.name == format
        with pytest.raises(SessionError, match=f"{name}: expected a whole {format} recording; could not read"):
            open_session(file)


def test_folders_that_are_not_what_they_hold_are_session_errors(tmp_path: Path) -> None:
    for name, marker in (
        ("oe", "recording1/structure.oebin"),
        ("glx", "run.ap.meta"),
        ("block", "tank_block.tsq"),
        ("intan", "info.rhd"),
    ):
        file = tmp_path / name / marker
        file.parent.mkdir(parents=True)
        file.write_bytes(b"{}")
        with pytest.raises(SessionError, match=f"{name}: expected a whole"):
            open_session(tmp_path / name)


def test_pl2_is_refused_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "a.pl2").write_bytes(b"")
    with pytest.raises(SessionError, match=r"\.pl2 is read by Plexon's Windows library alone; export it"):
        open_session(tmp_path / "a.pl2")


def test_a_hash_in_a_path_is_no_stream(tmp_path: Path) -> None:
    folder = tmp_path / "day#1"
    wav_folder(folder)
    assert find_recording(folder) == (folder, "")
    assert find_recording(f"{folder}#x#y") == (folder, "x#y")
    with pytest.raises(SessionError, match="expected no stream in a wav recording, got #x"):
        open_session(f"{folder}#x")


def test_a_recording_is_found_without_its_suffix_where_there_is_one(tmp_path: Path) -> None:
    write_wav(tmp_path / "monday.wav", np.arange(50, dtype=np.int16))
    (tmp_path / "monday.txt").write_text("notes")
    assert open_session(tmp_path / "monday").n_samples == 50
    (tmp_path / "monday.nev").write_bytes(b"")
    with pytest.raises(SessionError, match=r"got monday\.nev, monday\.wav: name one with its suffix"):
        open_session(tmp_path / "monday")
    with pytest.raises(SessionError, match="there is nothing of that name"):
        open_session(tmp_path / "tuesday")


def test_a_folder_lists_what_it_holds_and_what_cannot_be_read(tmp_path: Path) -> None:
    wav_folder(tmp_path / "clips")
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "torn.nev").write_bytes(b"NEURALEV")
    (tmp_path / "deep" / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    (tmp_path / "deep" / "counts.toml").write_text(
        "file = 'a.csv'\n[signal]\nkind = 'counts'\nkey = 'u*'\nbin_ms = 10\n"
    )
    (tmp_path / "deep" / "a.csv").write_text("u1,u2\n1,0\n0,2\n")
    (tmp_path / ".hidden").mkdir()
    write_wav(tmp_path / ".hidden" / "a.wav", np.arange(5, dtype=np.int16))
    entries = {entry.name: entry for path in recordings_in(tmp_path) for entry in describe(path, tmp_path)}
    assert list(entries) == ["clips", "deep/counts.toml", "deep/er/torn.nev"]
    assert entries["clips"].channels == 3
    assert (entries["deep/counts.toml"].signal, entries["deep/counts.toml"].seconds) == ("events", 0.02)
    assert "expected a whole Blackrock recording" in str(entries["deep/er/torn.nev"].error)
    for name, entry in entries.items():
        if entry.error is None:
            assert open_session(tmp_path / name).n_channels == entry.channels


def test_a_choice_is_a_stream_and_a_stretch() -> None:
    assert split_choice("") == ("", None)
    assert split_choice("imec0.ap") == ("imec0.ap", None)
    assert split_choice("imec0.ap@12") == ("imec0.ap", 12)
    assert split_choice("@2") == ("", 2)
    assert split_choice("a@b") == ("a@b", None)


def test_rates_are_exact_where_packets_can_carry_them() -> None:
    assert exact_rate(24414.0625) == (390625, 16)
    assert exact_rate(30000.0) == (30000, 1)
    odd = exact_rate(30000.390639481)
    assert max(odd) < 2**32
    assert odd.hz == pytest.approx(30000.390639481, abs=1e-9)


def test_a_clock_in_blocks_reads_as_a_flat_one() -> None:
    numbers = np.arange(60)
    for width in (1, 4, 60):
        flat = Flat(numbers.reshape(-1, width))
        assert len(flat) == 60
        assert (flat[0], flat[7], flat[-1]) == (0, 7, 59)
        for start, stop in ((0, 60), (3, 5), (4, 8), (7, 33), (58, 99)):
            assert (flat[start:stop] == numbers[start:stop]).all()


def test_a_part_of_a_recording_says_what_to_open(spikeglx: Path) -> None:
    with pytest.raises(SessionError, match=r"it may be a part of the recording .*run_g0: open that"):
        open_session(next(spikeglx.glob("*.bin")))


def test_runs_are_found_however_long_the_clock_is(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = np.arange(1000)
    assert _runs(clock) == [(0, 1000)]
    clock[300:] += 1
    clock[301:] += 7
    clock[512:] -= 600
    whole = _runs(clock)
    assert whole == [(0, 300), (300, 301), (301, 512), (512, 1000)]
    for block in (1, 7, 300, 512):
        monkeypatch.setattr("cortexwire.sessions.rawio.recording._SCANNED", block)
        assert _runs(clock) == whole


@pytest.mark.realdata
def test_a_toml_lays_columns_and_trials_of_another_file_beside_a_recording(recordings: Path, tmp_path: Path) -> None:
    rows = "\n".join(f"{0.1 * k:.1f},{3 * k}" for k in range(37))
    (tmp_path / "hand.csv").write_text(f"t,x\n{rows}\n")
    (tmp_path / "trials.csv").write_text("start,stop\n0.5,1.0\n2.0,3.0\n")
    toml = tmp_path / "day.toml"
    toml.write_text(
        'file = "blackrock_nev/example_1.nev"\n[signal]\nkind = "recorded"\n'
        '[columns]\npx = { key = "x", unit = "mm" }\n[kinematics]\nfile = "hand.csv"\ntimes = "t"\n'
        '[trials]\nrule = "table"\nfile = "trials.csv"\nkey = "*"\n'
    )
    session = open_session(toml, recordings)
    assert isinstance(session, RecordedSession)
    plain = open_session(nev(recordings))
    assert (session.events(0, session.n_samples) == plain.events(0, plain.n_samples)).all()
    assert session.descriptor.electrodes == plain.descriptor.electrodes
    assert (session.name, session.column_names, session.column_units) == ("day", ("px",), ("mm",))
    assert session.columns_at(np.array([0, 3_000, 4_500])) == pytest.approx(np.array([[0.0], [3.0], [4.5]]))
    assert session.trials.tolist() == [(15_000, 30_000), (60_000, 90_000)]
    toml.write_text(toml.read_text().replace('file = "hand.csv"\n', ""))
    with pytest.raises(SessionError, match=r"kinematics\.file: expected the file of columns and trials"):
        open_session(toml, recordings)
    toml.write_text('file = "blackrock_nev/example_1.nev"\n[signal]\nkind = "recorded"\nstream = "ns6"\n')
    with pytest.raises(SessionError, match="expected a stream 'ns6', got none"):
        open_session(toml, recordings)
