"""The demo in a fresh clone with an empty environment, and what a bundle of shuffled weights scores."""

import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Final

from cortexwire.bench.evidence import progress
from cortexwire.clients.simulator import parse_source
from cortexwire.decoders import Bundle, OnnxDecoder, load_bundle
from cortexwire.pipeline.pipeline import Pipeline
from cortexwire.pipeline.settings import PipelineSettings
from cortexwire.runtime.offline import decode_frames, decoded_against
from cortexwire.runtime.shipped import reference_bundle
from cortexwire.sessions.packets import session_packets
from cortexwire.training.metrics import r2
from cortexwire.training.seeded import shuffled_bundle

SECONDS: Final = 10
LEAST_R2: Final = 0.70
MOST_SHUFFLED_R2: Final = 0.1
RUN: Final = "sim:channels=96,seconds=40,seed=90210"
COLUMNS: Final = ("intended_vx", "intended_vy")


def fresh_clone() -> dict[str, Any]:
    """Clone the committed tree, run `make demo SECONDS=10` in it, and score the bundle with and without its weights."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        root = subprocess.run(["git", "rev-parse", "--show-toplevel"], check=True, capture_output=True, text=True)
        subprocess.run(["git", "clone", "-q", root.stdout.strip(), clone], check=True)
        progress("make demo in a fresh clone: installs, compiles, calibrates, decodes")
        env = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONPATH")}
        env |= {"CORTEXWIRE_CACHE": str(Path(folder) / "cache")}
        made = subprocess.run(
            ["make", "demo", f"SECONDS={SECONDS}"], cwd=clone, env=env, capture_output=True, text=True, check=False
        )
        whole = _score(load_bundle(reference_bundle()))
        shuffled = _score(shuffled_bundle(load_bundle(reference_bundle()), Path(folder) / "shuffled", seed=1))
    lines = made.stdout.splitlines()
    last = re.fullmatch(r"R2 (-?\d+\.\d\d)", lines[-1]) if lines else None
    score = float(last.group(1)) if last else None
    passed = made.returncode == 0 and score is not None and score >= LEAST_R2 and shuffled < MOST_SHUFFLED_R2
    return {
        "passed": passed,
        "expected": f"exit 0, last line R2 >= {LEAST_R2}; shuffled weights < {MOST_SHUFFLED_R2}",
        "exit": made.returncode,
        "r2": score,
        "output": lines[-8:],
        "errors": made.stderr.splitlines()[-5:] if made.returncode else [],
        "r2_offline": whole,
        "r2_shuffled_offline": shuffled,
    }


def _score(bundle: Bundle) -> float:
    """Worse axis of a bundle on a run that it was not trained on, all bins after calibration."""
    session = parse_source(RUN)
    pipeline = Pipeline(PipelineSettings(), OnnxDecoder(bundle, "cpu"))
    outputs = decode_frames(pipeline, session_packets(session, 600, 1))
    came, true, _ = decoded_against(session, outputs, COLUMNS)
    return float(r2(true, came).min())
