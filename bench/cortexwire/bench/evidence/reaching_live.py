"""Trained decoders of several families on a 20 ms event stream, live: what they score, and that live is offline.

`contdata95` was recorded in bins of 100 ms; its counts are spread over them to make events, so this tests the plumbing
and says little of decoding. Each decoder is fitted to the first 80 % of the trials, exported, and then runs live over
the whole recording, state and all, from its first packet: `replay` sends it over PUSH/PULL as fast as the engine takes
it. Only held-out bins are scored.

Then every family: a decoder that was fitted to a short stretch, small or not, decodes a stretch live and offline, and
every output message, its times taken out, has to be the same bytes.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from cortexwire.bench.evidence import progress
from cortexwire.bench.evidence.sources import recording
from cortexwire.bench.live import decode_offline, lossless_config, replay_live, short_folder, untimed
from cortexwire.sessions import Session
from cortexwire.signal.settings import FrontEndSettings
from cortexwire.training.families import family, family_names
from cortexwire.training.features import FeatureTable, extract_features
from cortexwire.training.fitting import Trained, train_session
from cortexwire.training.metrics import r2
from cortexwire.wire import OutKind, decode_output

BARS: Final[dict[str, tuple[float, float]]] = {"gru": (0.89, 0.88), "esn": (0.68, 0.66), "snn": (0.75, 0.75)}
"""What x and y have to reach."""
SETTINGS: Final[dict[str, dict[str, Any]]] = {
    "gru": {"sequence": 200, "streams": 32, "epochs": 30, "max_minutes": 60},
    "esn": {},
    "snn": {"sequence": 200, "streams": 64, "epochs": 25, "tau": 20, "max_minutes": 60},
}
"""A bin is a fifth of the recorded ones, so gradients run back through more of them and time constants are longer."""
SMALL: Final[dict[str, Any]] = {"epochs": 2, "leaks": (0.3,), "input_scalings": (0.3,), "device": "cpu"}
"""What is told to every family that has it, where only bits are compared."""
PACKET_SAMPLES: Final = 600
SHORT_S: Final = 300.0
"""From the start: what the decoders are fitted to whose bits are compared."""
COMPARED_S: Final = 60.0
_EPOCH: Final = 5


def live(
    *,
    bars: Mapping[str, tuple[float, float]] = BARS,
    settings: Mapping[str, Mapping[str, Any]] = SETTINGS,
    seconds: float | None = None,
    families: Sequence[str] | None = None,
    compared_s: float = COMPARED_S,
) -> dict[str, Any]:
    """Must-show 2: live scores at 20 ms, and live equal to offline for every family.

    Args:
        bars: What the families that are scored have to reach.
        settings: Their settings.
        seconds: How much of the recording to use, from its start; all of it by default.
        families: Which families to compare bit for bit; all by default.
        compared_s: How much of the stream is compared.

    Raises:
        RunError: There are no recordings, or a live run failed.
        ConfigError: A family takes torch, and there is none.
    """
    session = recording("contdata95")
    stop = session.n_samples if seconds is None else round(seconds * session.rate.hz)
    with short_folder() as folder:
        table = extract_features(session, FrontEndSettings(), stop=stop)
        scored = {
            name: _scored(session, table, name, settings.get(name, {}), bar, stop, folder) for name, bar in bars.items()
        }
        short = extract_features(session, FrontEndSettings(), stop=round(SHORT_S * session.rate.hz))
        same = {name: _same(session, short, name, compared_s, folder) for name in families or family_names()}
    return {
        "passed": all(result["passed"] for result in (*scored.values(), *same.values())),
        "expected": {
            "r2": {name: f"at least {x} and {y}" for name, (x, y) in bars.items()},
            "bits": "every output message the same live and offline, for every family",
        },
        "note": "counts of 100 ms bins spread at random inside them: a test of the plumbing",
        "scored": scored,
        "bits": same,
    }


def _scored(
    session: Session,
    table: FeatureTable,
    name: str,
    settings: Mapping[str, Any],
    bar: tuple[float, float],
    stop: int,
    folder: Path,
) -> dict[str, Any]:
    began = time.monotonic()
    trained = train_session(session, folder / name, decoder=name, settings=settings, table=table)
    fitted_s = time.monotonic() - began
    progress(f"{name}: offline {trained.scores} after {fitted_s / 60:.1f} minutes")
    config = lossless_config(trained.bundle.path, folder)
    run = replay_live(config, session, PACKET_SAMPLES, epoch=_EPOCH, stop_s=stop / session.rate.hz)
    decoded = [output for output in run.outputs if output.kind is OutKind.DECODED]
    whole = [output.bin for output in decoded] == table.index.tolist()
    test = trained.split.test
    scores = [float("nan")] * 2
    if whole:
        velocity = np.array([output.tensors["velocity"] for output in decoded], np.float64)
        scores = [round(score, 4) for score in r2(trained.targets[test], velocity[test]).tolist()]
    progress(f"{name}: live {scores}")
    return {
        "passed": whole and all(score >= least for score, least in zip(scores, bar, strict=True)),
        "r2_live": dict(zip(trained.columns, scores, strict=True)),
        "r2_reference": trained.scores,
        "bar": bar,
        "every_bin_once": whole,
        "held_out_bins": test.stop - test.start,
        "settings": dict(settings),
        "minutes_to_fit_and_prove": round(fitted_s / 60, 2),
        "live_seconds": round(run.seconds, 1),
        "live_cpu_us_per_bin": round(1e6 * run.cpu_s / max(len(decoded), 1), 1),
        "parity": trained.bundle.manifest.parity,
    }


def _same(session: Session, table: FeatureTable, name: str, seconds: float, folder: Path) -> dict[str, Any]:
    """Compare one family's outputs, live and offline."""
    trained = quick_bundle(session, table, name, folder / f"{name}-short")
    config = lossless_config(trained.bundle.path, folder)
    run = replay_live(config, session, PACKET_SAMPLES, epoch=_EPOCH, stop_s=seconds)
    offline = decode_offline(config, session, PACKET_SAMPLES, epoch=_EPOCH, stop_s=seconds)
    came, want = untimed(run.frames), untimed(offline)
    differing = sum(a != b for a, b in zip(came, want, strict=False)) + abs(len(came) - len(want))
    outputs = [decode_output(frame) for frame in offline]
    velocity = [output.tensors["velocity"] for output in outputs if output.kind is OutKind.DECODED]
    moves = bool(np.ptp(np.array(velocity), axis=0).min() > 0)
    progress(f"{name}: {differing} of {len(want)} messages differ")
    return {"passed": differing == 0 and moves, "messages": len(want), "differing": differing, "moves": moves}


def quick_bundle(session: Session, table: FeatureTable, name: str, path: Path) -> Trained:
    """Fit a family with little effort, for comparisons that do not ask how well it decodes."""
    known = {field.name for field in msgspec.structs.fields(family(name).settings)}
    settings = {key: value for key, value in SMALL.items() if key in known}
    return train_session(session, path, decoder=name, settings=settings, table=table)
