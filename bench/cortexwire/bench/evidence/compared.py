"""`compare --quick` over all families, as a user calls it: how long it takes, its table and its page."""

import os
import subprocess
import sys
import time
from typing import Any, Final

from cortexwire.bench.evidence.reaches import BIN_MS, SETTINGS
from cortexwire.bench.evidence.sources import ROOT, data_folder
from cortexwire.bench.live import short_folder

MOST_MINUTES: Final = 25.0
SESSION: Final = "docs/sessions/contdata95.toml"
LAST_LINES: Final = 24


def quick() -> dict[str, Any]:
    """Must-show 7: all families compared within the time, ending in one table and one page.

    Raises:
        RunError: There are no recordings.
    """
    with short_folder() as folder:
        page = folder / "compare.html"
        command = ["compare", str(ROOT / SESSION), "--bin-ms", f"{BIN_MS:g}", "--quick", "--out", str(page)]
        began = time.monotonic()
        ran = subprocess.run(
            [sys.executable, "-c", "from cortexwire.cli import main; main()", *command, "--data", str(data_folder())],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"COLUMNS": "160"},
        )
        minutes = (time.monotonic() - began) / 60
        html = page.read_text() if page.is_file() else ""
    missing = [name for name in SETTINGS if name not in html or name not in ran.stdout]
    return {
        "passed": ran.returncode == 0 and minutes <= MOST_MINUTES and not missing,
        "expected": f"exit 0 within {MOST_MINUTES:g} minutes, every family in the table and on the page",
        "minutes": round(minutes, 1),
        "exit": ran.returncode,
        "families_missing": missing,
        "page_bytes": len(html),
        "table": ran.stdout.splitlines()[-LAST_LINES:],
        "errors": ran.stderr.splitlines()[-5:] if ran.returncode else [],
    }
