"""The import contracts are only worth having if they catch what they forbid."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
ROOTS = ("service", "models", "clients", "bench")
LINT = """
import sys
sys.path[:0] = sys.argv.pop(1).split(":")
from importlinter.cli import lint_imports_command
lint_imports_command()
"""
PLANTED = {
    "service/cortexwire/wire/planted.py": "import cortexwire.pipeline",
    "service/cortexwire/signal/planted.py": "from cortexwire import wire",
    "models/cortexwire/decoders/planted.py": "import cortexwire.signal",
    "clients/cortexwire/clients/planted.py": "import cortexwire.decoders",
    "service/cortexwire/runtime/planted.py": "def late() -> None:\n    import scipy.signal",
    "bench/cortexwire/bench/planted.py": "import redis\nimport torch",
    "models/cortexwire/stray/__init__.py": "",
}
CAUGHT = {
    "cortexwire.wire.planted -> cortexwire.pipeline",
    "cortexwire.signal.planted -> cortexwire.wire",
    "cortexwire.decoders.planted -> cortexwire.signal",
    "cortexwire.clients.planted -> cortexwire.decoders",
    "cortexwire.runtime.planted -> scipy",
    "cortexwire.bench.planted -> redis",
    "cortexwire.bench.planted -> torch",
    "cortexwire.stray",
}


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_every_contract_catches_a_planted_violation(tmp_path: Path) -> None:
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    for root in ROOTS:
        for module in (REPOSITORY / root).rglob("*.py"):
            write(tmp_path / module.relative_to(REPOSITORY), "")
    for name, text in PLANTED.items():
        write(tmp_path / name, text)

    # Without `site`, so that the editable installation does not add the real roots to the copy's.
    search = ":".join([*(str(tmp_path / root) for root in ROOTS), sysconfig.get_path("purelib")])
    command = [sys.executable, "-S", "-c", LINT, search, "--no-cache"]
    wide = os.environ | {"COLUMNS": "200"}
    result = subprocess.run(command, cwd=tmp_path, env=wide, capture_output=True, text=True, check=False)

    assert result.returncode == 1, result.stdout + result.stderr
    assert re.findall(r"(.*) KEPT", result.stdout) == []
    found = re.findall(r"^- +(cortexwire\.\S+(?: -> \S+)?)", result.stdout, re.MULTILINE)
    assert set(found) == CAUGHT, result.stdout
