"""Laws about the tree itself: what packaging and the namespace of four roots silently depend on."""

import re
import shutil
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
ROOTS = ("service", "models", "clients", "bench")
MACHINE_PATH = re.compile(rb"(?<![A-Za-z0-9_.])/(?:work|root|home|farm)/")


def files_of_the_project() -> list[Path]:
    """Files that git tracks, or would with the next `git add`."""
    if shutil.which("git") is None or not (REPOSITORY / ".git").exists():
        pytest.skip("which files belong to the project is known only in a git checkout")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True, text=True).stdout
    return [path for name in listing.split("\0") if name and (path := REPOSITORY / name).is_file()]


def test_exactly_one_root_carries_the_typing_marker() -> None:
    assert [root for root in ROOTS if (REPOSITORY / root / "cortexwire" / "py.typed").exists()] == ["service"]


def test_no_root_shuts_the_namespace_for_the_others() -> None:
    assert [root for root in ROOTS if (REPOSITORY / root / "cortexwire" / "__init__.py").exists()] == []


def test_every_folder_of_code_is_a_package() -> None:
    folders = {
        path.parent for root in ROOTS for path in (REPOSITORY / root / "cortexwire").glob("*/**/*.py")
    }  # a folder without `__init__.py` would be left out by mypy and by the import contracts
    assert sorted(folder for folder in folders if not (folder / "__init__.py").exists()) == []


def test_the_installed_version_is_the_one_in_pyproject() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert metadata.version("cortexwire") == project["version"]


def test_the_changelog_opens_with_this_version() -> None:
    headings = re.findall(r"^## \[?([^\]\s]+)", (REPOSITORY / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] in ("Unreleased", metadata.version("cortexwire"))


def test_constraints_name_no_index_no_file_and_no_local_build() -> None:
    pins = [line for line in (REPOSITORY / "constraints.txt").read_text().splitlines() if line[:1] != "#"]
    assert [pin for pin in pins if not re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", pin)] == []
    assert "torch==2.13.0" in pins


def test_no_file_names_a_path_of_one_machine() -> None:
    faults = [path for path in files_of_the_project() if MACHINE_PATH.search(path.read_bytes())]
    assert [str(path.relative_to(REPOSITORY)) for path in faults] == []
