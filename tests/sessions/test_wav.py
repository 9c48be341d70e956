from pathlib import Path

import numpy as np
import pytest

from cortexwire.errors import SessionError
from cortexwire.sessions import open_session
from cortexwire.sessions.wav import WavStack, read_wav_header
from tests.sessions.make_recordings import wav_folder, write_wav


def test_a_folder_of_wavs_is_a_session_without_any_toml(tmp_path: Path) -> None:
    samples = wav_folder(tmp_path / "clips")
    session = open_session(tmp_path / "clips")
    assert (session.name, session.kind, session.rate.hz) == ("clips", "wideband", 20_000)
    assert [electrode.id for electrode in session.descriptor.electrodes] == ["e0", "e1", "e2"]
    read = session.wideband(0, session.n_samples)
    assert read.dtype == np.int16
    assert (read == samples).all()
    assert not read.flags.writeable


def test_what_was_assumed_is_recorded(tmp_path: Path) -> None:
    wav_folder(tmp_path / "clips")
    problems = open_session(tmp_path / "clips").problems
    assert any("uv_per_bit is not stated: 1.0" in problem for problem in problems)
    assert any("up to 2 samples" in problem for problem in problems)


def test_any_range_is_what_the_whole_has_there(tmp_path: Path) -> None:
    samples = wav_folder(tmp_path / "clips")
    stack = WavStack(tmp_path / "clips")
    stack.matrix._block_rows = 64
    for start, stop in ((0, 1000), (0, 0), (63, 65), (64, 128), (500, 777), (999, 1000), (1000, 1000)):
        assert (stack.matrix.rows(start, stop) == samples[start:stop]).all()


def test_floats_stay_floats_and_other_chunks_are_passed_over(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).normal(0, 1, 100).astype(np.float32)
    write_wav(tmp_path / "a.wav", samples, extra=b"odd")
    assert (WavStack(tmp_path).matrix.rows(0, 100)[:, 0] == samples).all()


def test_a_file_cut_off_by_a_crash_gives_what_it_has(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", np.arange(100, dtype=np.int16))
    whole = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(whole[:-50])
    assert read_wav_header(tmp_path / "a.wav").n_samples == 75


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no wave file", "expected a RIFF wave file"),
        (b"RIFF\0\0\0\0WAVE", "expected a data chunk, got none"),
        (b"RIFF\0\0\0\0WAVEdata\4\0\0\0abcd", "format chunk before the data"),
        (b"RIFF\0\0\0\0WAVEfmt \2\0\0\0ab", "at least 16 bytes, got 2"),
        (b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\1\0\2\0" + b"\0" * 10 + b"\x10\0", "mono file, got 2 channels"),
        (b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0" + b"\0" * 10 + b"\x18\0", "format 1, 24 bits"),
    ],
)
def test_what_is_no_such_file_is_refused_with_the_reason(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(SessionError, match=message):
        open_session(tmp_path)


def test_files_of_different_rates_are_refused(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", np.zeros(10, np.int16), 20_000)
    write_wav(tmp_path / "b.wav", np.zeros(10, np.int16), 30_000)
    with pytest.raises(SessionError, match=r"b\.wav: expected 20000 Hz int16 like a\.wav, got 30000 Hz"):
        open_session(tmp_path)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SessionError, match="expected a recording of a known format, got a folder of none"):
        open_session(tmp_path)


def test_a_toml_names_scale_and_identities(tmp_path: Path) -> None:
    wav_folder(tmp_path / "clips")
    toml = tmp_path / "session.toml"
    toml.write_text(
        'file = "clips"\nname = "n"\n[signal]\nkind = "wideband"\nuv_per_bit = 0.5\nrate_hz = 20000\n'
        'reference = "screw"\n[electrodes]\nnames = ["x", "y", "z"]\nbank_size = 2\n'
    )
    session = open_session(toml)
    assert session.uv_per_bit == 0.5
    assert session.descriptor.reference == "screw"
    assert [(each.id, each.bank) for each in session.descriptor.electrodes] == [("x", "A"), ("y", "A"), ("z", "B")]
    assert len(session.problems) == 1
    toml.write_text('file = "clips"\n[signal]\nkind = "wideband"\nrate_hz = 30000\n')
    with pytest.raises(SessionError, match=r"rate_hz: expected 20000 as in the wav headers, got 30000"):
        open_session(toml)
    toml.write_text('file = "clips"\n[signal]\nkind = "counts"\nkey = "Y"\nbin_ms = 1\n')
    with pytest.raises(SessionError, match='expected kind = "wideband"'):
        open_session(toml)
    toml.write_text('file = "clips"\n[signal]\nkind = "wideband"\n[columns]\nx = { key = "x" }\n')
    with pytest.raises(SessionError, match="neither columns nor trials"):
        open_session(toml)
