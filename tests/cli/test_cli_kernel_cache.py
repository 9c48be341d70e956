import os
import re
from pathlib import Path

import pytest

import cortexwire
from cortexwire.kernel_cache import CACHE_VARIABLE, KERNEL_FOLDERS, find_cache, sources_token
from tests.cli.running import run_process

WHERE = """
import cortexwire.signal, numba.core.config, os
folder = numba.core.config.CACHE_DIR
print(folder, os.path.isdir(os.path.dirname(folder)))
"""
DEFINES_KERNELS = re.compile(r"^\s*(@|\w+.* = )(numba\.)?(njit|intrinsic|overload)\b", re.MULTILINE)


def test_the_named_folder_goes_before_the_users_cache(tmp_path: Path) -> None:
    env = {CACHE_VARIABLE: str(tmp_path / "named"), "XDG_CACHE_HOME": str(tmp_path / "xdg"), "HOME": str(tmp_path)}
    assert find_cache(env) == tmp_path / "named"
    del env[CACHE_VARIABLE]
    assert find_cache(env) == tmp_path / "xdg" / "cortexwire"
    del env["XDG_CACHE_HOME"]
    assert find_cache(env) == tmp_path / ".cache" / "cortexwire"
    assert (tmp_path / ".cache" / "cortexwire").is_dir()


@pytest.mark.parametrize("env", [{}, {"HOME": "/proc/no-such-home"}, {CACHE_VARIABLE: "/proc/nowhere"}])
def test_without_a_place_to_write_a_private_folder_is_used_and_said(
    env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, "as it was")
    with pytest.warns(RuntimeWarning, match="compiled kernels cannot be kept"):
        folder = find_cache(env)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert os.environ[CACHE_VARIABLE] == str(folder)


def test_kernels_are_kept_where_the_cache_is(tmp_path: Path) -> None:
    ran = run_process(WHERE, CORTEXWIRE_CACHE=str(tmp_path), NUMBA_CACHE_DIR=None)
    assert ran.stdout.split() == [str(tmp_path / f"kernels-{sources_token()}"), "True"]


def test_a_private_folder_goes_with_the_process() -> None:
    changes = dict.fromkeys((CACHE_VARIABLE, "HOME", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR"), None)
    ran = run_process(WHERE, **changes)
    assert ran.returncode == 0, ran.stderr
    assert "expected to write to a home folder" in ran.stderr
    folder, existed = ran.stdout.split()
    assert existed == "True"
    assert not Path(folder).parent.exists()


def test_every_module_that_holds_kernels_lies_where_changes_are_noticed() -> None:
    found = {
        str(module.parent.relative_to(root))
        for root in cortexwire.__path__
        for module in Path(root).rglob("*.py")
        if DEFINES_KERNELS.search(module.read_text())
    }
    assert found == set(KERNEL_FOLDERS)
