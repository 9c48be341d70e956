from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from cortexwire.errors import SessionError
from cortexwire.sessions.stores import open_store

MATRIX = np.arange(12.0).reshape(4, 3)


def write_matlab_73(path: Path) -> None:
    """As MATLAB writes it: column-major, hence transposed, with a class attribute, structures as groups."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in (("Y", MATRIX), ("S/inner", MATRIX * 2), ("S/vector", np.arange(4.0)[:, None])):
            dataset = file.create_dataset(name, data=array.T)
            dataset.attrs["MATLAB_class"] = np.bytes_("double")
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file")


def write_matlab_5(path: Path) -> None:
    savemat(path, {"Y": MATRIX, "S": {"inner": MATRIX * 2, "vector": np.arange(4.0)[:, None]}})


@pytest.mark.parametrize("write", [write_matlab_5, write_matlab_73])
def test_both_matlab_formats_show_what_matlab_shows(tmp_path: Path, write: object) -> None:
    assert callable(write)
    write(tmp_path / "a.mat")
    store = open_store(tmp_path / "a.mat")
    assert (store.array("Y") == MATRIX).all()
    assert (store.array("S.inner") == MATRIX * 2).all()
    assert store.array("S.vector").tolist() == [[0], [1], [2], [3]]
    assert (store.matrix("Y", "time_first").rows(1, 3) == MATRIX[1:3]).all()
    assert (store.matrix("S.inner", "channels_first").rows(1, 2) == MATRIX.T[1:2] * 2).all()
    assert store.matrix("S.vector", "time_first").rows(0, 4).shape == (4, 1)
    assert store.names("Y") == ()
    with pytest.raises(SessionError, match=r"expected an array named 'Z', the file has S, Y"):
        store.array("Z")
    with pytest.raises(SessionError, match=r"named 'S', the file has S\.inner, S\.vector"):
        store.array("S")
    with pytest.raises(SessionError, match=r"named 'S\.other', the file has inner, vector"):
        store.matrix("S.other", "time_first")
    with pytest.raises(SessionError, match=r"named 'Y\.deeper'"):
        store.array("Y.deeper")


def test_plain_hdf5_is_read_as_it_lies_and_in_blocks(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["raw"] = np.arange(2000, dtype=np.int16).reshape(500, 4)
        file["cube"] = np.zeros((2, 2, 2))
    store = open_store(tmp_path / "a.h5")
    matrix = store.matrix("raw", "time_first")
    assert (matrix.n_rows, matrix.n_columns) == (500, 4)
    assert matrix.rows(499, 500).tolist() == [[1996, 1997, 1998, 1999]]
    flipped = store.matrix("raw", "channels_first")
    assert (flipped.n_rows, flipped.n_columns) == (4, 500)
    assert flipped.rows(1, 2)[0, :2].tolist() == [1, 5]
    with pytest.raises(SessionError, match="one or two dimensions"):
        store.matrix("cube", "time_first")


def test_elements_of_structure_arrays_are_reached_by_number(tmp_path: Path) -> None:
    trials = np.zeros(2, [("x", "O")])
    trials["x"] = [np.arange(3.0), np.arange(4.0)]
    savemat(tmp_path / "a.mat", {"trial": trials})
    assert open_store(tmp_path / "a.mat").array("trial.1.x").tolist() == [[0, 1, 2, 3]]


def test_text_is_no_number(tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", {"t": "words"})
    with pytest.raises(SessionError, match="expected numbers"):
        open_store(tmp_path / "a.mat").matrix("t", "time_first")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_tables_of_text_are_read_by_column_name_or_pattern(tmp_path: Path, delimiter: str) -> None:
    lines = ["t,u_1,x,u_2", "0,1,5.5,2", "1,0,6.5,0"]
    (tmp_path / "a.csv").write_text("\n".join(lines).replace(",", delimiter))
    store = open_store(tmp_path / "a.csv")
    assert store.names("u_*") == ("u_1", "u_2")
    assert store.matrix("u_*", "time_first").rows(0, 2).tolist() == [[1, 2], [0, 0]]
    assert store.array("x").tolist() == [5.5, 6.5]
    with pytest.raises(SessionError, match="named 'y', the file has t, u_1, u_2, x"):
        store.array("y")
    with pytest.raises(SessionError, match="time first, got channels_first"):
        store.matrix("u_*", "channels_first")


def test_a_table_without_header_has_numbered_columns(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1.5,2\n3,4\n")
    assert open_store(tmp_path / "a.txt").array("0").tolist() == [1.5, 3]


def test_empty_cells_and_text_are_missing_values(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,\n,left\n")
    assert np.isnan(open_store(tmp_path / "a.csv").array("y")).all()
    assert np.isnan(open_store(tmp_path / "a.csv").array("x")).tolist() == [False, True]


def test_lines_of_different_length_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,2\n3\n")
    with pytest.raises(SessionError, match="expected 2 columns a line"):
        open_store(tmp_path / "a.csv").array("x")
    (tmp_path / "b.csv").write_text("x,y\n1\n3\n")
    with pytest.raises(SessionError, match=r"expected 2 columns, got \(1,\)"):
        open_store(tmp_path / "b.csv").array("x")


def test_files_of_no_known_kind_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"\0\1\2\3")
    (tmp_path / "b.mat").write_bytes(b"not MATLAB at all, but long enough to look at" * 9)
    (tmp_path / "c.h5").write_bytes(b"\x89HDF\r\n\x1a\n and no more")
    (tmp_path / "d.csv").write_bytes(b"\xff\xfe\xfa,\n")
    for name, message in (
        ("a.bin", "expected a MATLAB, HDF5 or text table"),
        ("b.mat", "expected a MATLAB file"),
        ("c.h5", "expected an HDF5 file"),
        ("d.csv", "in UTF-8"),
        ("none.mat", "expected a file"),
    ):
        with pytest.raises(SessionError, match=message):
            open_store(tmp_path / name).array("Y")
