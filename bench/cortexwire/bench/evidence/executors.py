"""The incremental executor: equal to the whole step in ONNX Runtime, and to itself however its packets are cut.

Both are told the same bins of counts; the incremental one is told of their crossings packet by packet, as a front end
tells it. A family whose graph it does not run is refused when its bundle is opened, never later, and says so here.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from cortexwire.bench.drawn_families import CHANNELS, FITTED, family_bundle
from cortexwire.bench.evidence import progress
from cortexwire.bench.evidence.identity import LONGEST_RANDOM, RANDOM, SEED, SIZES, Case, compare
from cortexwire.bench.evidence.sources import n1_front_end, recording
from cortexwire.bench.followed_step import FollowedStep
from cortexwire.bench.live import RunError, short_folder
from cortexwire.clients.simulator import Simulator, SimulatorSettings
from cortexwire.decoders import Bundle, OnnxDecoder, make_decoder
from cortexwire.decoders.contract import CountingDecoder
from cortexwire.errors import BundleError
from cortexwire.sessions import RecordedSession, Session
from cortexwire.sessions.matrix import ArrayMatrix
from cortexwire.sessions.signals import WidebandSignal
from cortexwire.signal.settings import FrontEndSettings, ReferenceSettings, ThresholdSettings
from cortexwire.training.features import designed, stream_of
from cortexwire.training.seeded_gru import FEATURE_MEAN, seeded_gru

FAMILIES: Final = ("wiener", "kalman", "cascade", "esn", "gru", "lstm", "rnn", "mlp", "tcn", "snn")
BINS: Final = 2000
MOST: Final = 1e-5
"""Relative to the largest output."""
RUNNING_KALMAN: Final = "kalman, running covariance"
"""A Kalman filter whose gain is computed anew every bin."""
SIMULATED: Final = (1, 3, 65, 96, 1024)
SIMULATED_S: Final = 1.5
CONTDATA_S: Final[Mapping[float, Sequence[int | str]]] = {2.0: SIZES, 30.0: (30, 600, RANDOM)}
UNITS: Final = 64
_CALIBRATION_S: Final = 0.3


def executors(
    *,
    families: Sequence[str] = FAMILIES,
    bins: int = BINS,
    channels: Sequence[int] = SIMULATED,
    simulated_s: float = SIMULATED_S,
    sizes: Sequence[int | str] = SIZES,
    recordings: bool = True,
    contdata_s: Mapping[float, Sequence[int | str]] = CONTDATA_S,
) -> dict[str, Any]:
    """Must-show 5: equal to the graph, and bit-identical to itself.

    Args:
        families: Families to compare with the graph.
        bins: Over how many bins.
        channels: Numbers of simulated channels for bit identity.
        simulated_s: Seconds of each simulation.
        sizes: Samples in a packet.
        recordings: Whether recordings are compared, too, where there are any.
        contdata_s: Stretches of `contdata95`, in seconds, and the sizes of each.

    Returns:
        `passed`, `expected`, each family and each case.

    Raises:
        RunError: A live run failed.
    """
    began = time.monotonic()
    with short_folder() as folder:
        compared = {name: _family(name, folder / name, bins, None) for name in families}
        refused = (
            _family("kalman", folder / "running", bins, {"covariance": "running"}) if "kalman" in families else None
        )
        cases = [_simulated(folder, n, simulated_s, sizes) for n in channels]
        absent = ""
        if recordings:
            try:
                cases += _recorded(folder, sizes, contdata_s)
            except RunError as error:
                absent = str(error)
        identical = {}
        for case in cases:
            identical[case.name] = compare(case)
            progress(f"{case.name}: {'equal' if identical[case.name]['passed'] else identical[case.name]}")
    # A gain that changes with the state is the one thing that cannot be computed ahead: it has to be refused.
    as_expected = refused is None or refused["passed"] or "refused" in refused
    return {
        "passed": as_expected and all(one["passed"] for one in (*compared.values(), *identical.values())),
        "expected": {
            "families": f"at most {MOST:g} of the largest output from ONNX Runtime's over {bins} bins, left alone",
            "refused": "a Kalman filter with a running covariance is decoded as well as that, or refused with words",
            "identity": "the same bytes for every packet size, live and offline, all times taken out",
        },
        "families": compared,
        **({} if refused is None else {RUNNING_KALMAN: refused}),
        "random_sizes": f"uniform from 1 to {LONGEST_RANDOM}, seed {SEED}",
        "identity": identical,
        **({"absent": absent} if absent else {}),
        "took_s": round(time.monotonic() - began, 1),
    }


def _family(name: str, folder: Path, bins: int, settings: Mapping[str, Any] | None) -> dict[str, Any]:
    given = None if settings is None else {**FITTED[name], **settings}
    bundle = family_bundle(name, folder, settings=given)
    counts = np.random.default_rng(SEED).poisson(FEATURE_MEAN, (bins, CHANNELS)).astype(np.float32)
    try:
        found = _apart(bundle, counts)
    except BundleError as error:
        found = {"passed": False, "refused": str(error).removeprefix(f"{bundle.path}: ")}
    progress(f"{name}: {found}")
    return found


def _apart(bundle: Bundle, counts: np.ndarray) -> dict[str, Any]:
    """Let both run through all bins, each from its own state.

    Raises:
        BundleError: The incremental executor does not run the graph.
    """
    graph, decoder = OnnxDecoder(bundle, "cpu"), make_decoder(bundle, "incremental")
    assert isinstance(decoder, CountingDecoder)
    followed = FollowedStep(decoder, counts)
    want = [graph.step(row) for row in counts]
    came = [followed.bin_of(row) for row in counts]
    apart = {}
    for name in want[0]:
        one, other = (np.stack([step[name] for step in steps]).astype(np.float64) for steps in (want, came))
        largest = float(np.abs(one).max())
        apart[name] = float(np.abs(one - other).max()) / largest if largest else float("inf")
    alive = bool((np.stack([step["velocity"] for step in want]).std(axis=0) > 0).all())
    return {
        "passed": alive and max(apart.values()) <= MOST,
        "apart": {name: float(f"{value:.3g}") for name, value in apart.items()},
        "bins": len(counts),
    }


def _simulated(folder: Path, channels: int, seconds: float, sizes: Sequence[int | str]) -> Case:
    """A simulated array, rendered once; from 8 channels on with a median reference, which needs so many."""
    simulator = Simulator(SimulatorSettings(channels=channels, seed=SEED))
    samples = simulator.next(round(seconds * simulator.rate.hz))
    session = RecordedSession(
        f"gru{channels}", simulator.rate, WidebandSignal(ArrayMatrix(samples)), simulator.descriptor
    )
    chain = FrontEndSettings(
        reference=ReferenceSettings(mode="median" if channels >= 8 else "none"),
        threshold=ThresholdSettings(calibration_s=min(_CALIBRATION_S, seconds / 3)),
    )
    bundle = _gru(folder, session.name, session, designed(chain, session))
    return Case(f"simulated, {channels} channels", session, bundle, None, sizes, "incremental")


def _recorded(folder: Path, sizes: Sequence[int | str], contdata_s: Mapping[float, Sequence[int | str]]) -> list[Case]:
    """Recordings, each with a GRU of random weights.

    Raises:
        RunError: There are none.
    """
    clip, reaches = recording("neuralink_n1"), recording("contdata95")
    chain = n1_front_end().model_copy(update={"features": ("counts",)})
    clip_bundle = _gru(folder, "n1", clip, chain)
    reaches_bundle = _gru(folder, "contdata95", reaches, FrontEndSettings())
    return [
        Case("neuralink_n1", clip, clip_bundle, None, sizes, "incremental"),
        *(
            Case(f"contdata95, {seconds:g} s", reaches, reaches_bundle, seconds, some, "incremental")
            for seconds, some in contdata_s.items()
        ),
    ]


def _gru(folder: Path, name: str, session: Session, chain: FrontEndSettings) -> Path:
    made = seeded_gru(
        folder / f"bundle-{name}",
        seed=SEED,
        stream=stream_of(session, chain.bin_ms),
        units=UNITS,
        front_end=chain.model_dump(mode="json"),
    )
    return made.path
