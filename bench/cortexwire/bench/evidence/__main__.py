"""`python -m cortexwire.bench.evidence ISSUE [--only NAME] [--out FOLDER] [--json]`: run, print, and write JSON.

Each run writes `FOLDER/ISSUE-NAME.json` with a record of the environment. The exit status is 0 when every run passed,
1 when one failed or fell, 2 when the command line names no run.
"""

import argparse
import json
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from cortexwire.bench.environment import environment_record
from cortexwire.bench.evidence import RUNS, load_run, progress

_SHOWN: Final = (str, int, float, bool)


def main(argv: Sequence[str] | None = None) -> int:
    """Run what the command line names; returns the exit status."""
    given = _parser().parse_args(argv)
    runs = RUNS[given.issue]
    unknown = [name for name in given.only if name not in runs]
    if unknown:
        sys.stderr.write(f"expected runs of issue {given.issue} among {sorted(runs)}, got {unknown[0]!r}\n")
        return 2
    names = given.only or list(runs)
    results = {name: _run(given.issue, name, runs[name], given.out) for name in names}
    if given.json:
        sys.stdout.write(json.dumps(results, indent=2, default=_plain) + "\n")
    else:
        _show(results)
    return 0 if all(result["passed"] for result in results.values()) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cortexwire.bench.evidence", description="The must-show runs.")
    parser.add_argument("issue", type=int, choices=sorted(RUNS), help="number of the issue")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this run only; may be repeated")
    parser.add_argument("--out", type=Path, default=Path("evidence"), help="folder of the results")
    parser.add_argument("--json", action="store_true", help="print results as JSON instead of tables")
    return parser


def _run(issue: int, name: str, place: str, out: Path) -> dict[str, Any]:
    """Run one, and write its result; one that falls has failed, and the others still run."""
    progress(f"{issue}-{name} ...")
    began = time.monotonic()
    try:
        result = load_run(place)()
    except Exception as error:
        traceback.print_exc()
        result = {"passed": False, "error": f"{type(error).__name__}: {error}"}
    result = {
        "run": f"{issue}-{name}",
        **result,
        "seconds": round(time.monotonic() - began, 1),
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "environment": environment_record(),
    }
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{issue}-{name}.json"
    path.write_text(json.dumps(result, indent=2, default=_plain) + "\n")
    progress(f"{issue}-{name} {'passed' if result['passed'] else 'FAILED'} in {result['seconds']} s, see {path}")
    return result


def _commit() -> str:
    """The commit that was run, with a plus where files differ from it; empty outside a clone."""
    folder = Path(__file__).parent
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True)
        dirty = subprocess.run(["git", "status", "--porcelain"], cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "")


def _show(results: Mapping[str, Mapping[str, Any]]) -> None:
    console = Console()
    for name, result in results.items():
        table = Table("what", "value", title=f"{name}: {'passed' if result['passed'] else 'FAILED'}")
        for key, value in result.items():
            if isinstance(value, _SHOWN):
                table.add_row(key, str(value))
        console.print(table)


def _plain(value: Any) -> Any:
    """Numpy's numbers and arrays as JSON has them."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"expected what JSON can hold, got {type(value).__name__}")


if __name__ == "__main__":
    sys.exit(main())
