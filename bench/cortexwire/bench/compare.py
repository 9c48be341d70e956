"""Two measurements of the same things: what changed, how sure that is, and what became worse.

Rows are matched by what was measured (channels, decoder, transport, ...). Where a row holds samples, the change of a
percentile comes with an interval of 95 % from a bootstrap: runs are drawn with replacement, and within each run
stretches of about a second rather than single values, since neighbours are alike. Where it holds histograms only,
values are drawn one by one, and the interval is too narrow by whatever neighbours share. A figure without either has
no interval, and no verdict.

Within one run a machine's mood is the same from beginning to end, so an interval of single runs leaves out what
differs between runs; the result says when that is so.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from cortexwire.bench.distribution import counted_us
from cortexwire.errors import ConfigError

IDENTITY: Final = (
    "axis", "case", "channels", "reference", "decoder", "family", "inputs", "units", "executor", "packet_ms",
    "transport", "tap", "fifo_priority", "sessions", "batch", "chain", "peer", "socket", "bytes",
)  # fmt: skip
"""Entries of a row that say what was measured."""
DECISIVE: Final = ("processor", "cpus_usable", "governor", "hypervisor")
"""Entries of the environment without whose being equal a comparison says nothing about the program."""
NOTED: Final = (
    "cpus_isolated", "kernel", "kernel_preemption", "transparent_hugepages", "clock_source", "python", "libraries",
    "zmq", "sched_fifo_permitted",
)  # fmt: skip
"""Entries whose difference is told, and may be what made the change."""
TOLERANCE: Final = 0.1
RESAMPLES: Final = 400
CONFIDENCE: Final = 0.95
QUANTILES: Final = {"p50": 0.5, "p99": 0.99}
_LEAST_FOR_TAIL: Final = 400
"""Values without which nothing is said about a p99."""
_BLOCK: Final = 50
_MOST_DRAWN: Final = 2_000_000
"""Values drawn for one interval; a long run is drawn less often."""
_PLAIN: Final = ("engine_core_share", "core_share", "us_per_session", "compile_cold_s", "engine_start_s")
"""Figures without samples that are told, the less the better."""

Verdict = Literal["regression", "improvement", "same", "unclear", "not judged", "no interval"]
Runs = list[NDArray[np.float64]]


@dataclass(frozen=True)
class Change:
    """What became of one figure.

    Attributes:
        what: The row that it is of.
        metric: Its name.
        old: Before.
        new: After.
        change: Relative, 0.1 is a tenth more; more is worse.
        low: Lower end of the interval of the change, if there is one.
        high: Upper end.
        runs: How many runs there were, the fewer of both.
        verdict: `regression` and `improvement` are beyond the tolerance with an interval that leaves out zero;
            `same` lies within the tolerance, interval and all; `unclear` is neither.
    """

    what: str
    metric: str
    old: float
    new: float
    change: float
    low: float | None
    high: float | None
    runs: int
    verdict: Verdict


def compare_files(
    old: Path, new: Path, *, tolerance: float = TOLERANCE, across: bool = False, seed: int = 0
) -> dict[str, Any]:
    """Compare two result files.

    Args:
        old: Before.
        new: After.
        tolerance: Relative change that does not matter.
        across: Whether to compare results of different machines all the same.
        seed: Draws the bootstrap.

    Returns:
        JSON-able: `changes`, the names of `regressions`, `passed`, what differs in the environments, and what was
        measured only before or only after.

    Raises:
        ConfigError: A file is no result, the two have nothing in common, or they are of different machines.
    """
    before, after = read_result(old), read_result(new)
    decisive, noted = (_differences(before, after, names) for names in (DECISIVE, NOTED))
    if decisive and not across:
        said = "; ".join(f"{name}: {a!r} and {b!r}" for name, (a, b) in decisive.items())
        raise ConfigError(
            f"bench compare: expected results of one machine, got two ({said}); --across compares them all the same"
        )
    rows_before, rows_after = dict(_rows(before)), dict(_rows(after))
    common = [key for key in rows_before if key in rows_after]
    if not common:
        raise ConfigError(f"bench compare: expected measurements of the same things in {old} and {new}, found none")
    rng = np.random.default_rng(seed)
    changes = [one for key in common for one in _changes(key, rows_before[key], rows_after[key], tolerance, rng)]
    regressions = [f"{one.what}: {one.metric}" for one in changes if one.verdict == "regression"]
    single = any(one.runs < 2 for one in changes if one.low is not None)
    notes = ["intervals are of single runs: what differs from run to run is not in them"] if single else []
    return {
        "benchmark": "compare",
        "passed": not regressions,
        "tolerance": tolerance,
        "confidence": CONFIDENCE,
        "regressions": regressions,
        "environment_differences": {name: list(pair) for name, pair in (decisive | noted).items()},
        "only_old": [_words(key) for key in rows_before if key not in rows_after],
        "only_new": [_words(key) for key in rows_after if key not in rows_before],
        "notes": notes,
        "changes": [asdict(one) for one in changes],
    }


def read_result(path: Path) -> dict[str, Any]:
    """Read a result as `bench ... --out` writes it.

    Raises:
        ConfigError: It is none.
    """
    try:
        content = msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path}: expected the JSON of a benchmark, got something else: {error}") from error
    if not isinstance(content, dict) or not ("results" in content or "parts" in content):
        raise ConfigError(f"{path}: expected the result of a benchmark, with results or parts")
    return content


def change_of(
    old: Runs, new: Runs, quantile: float, rng: np.random.Generator, block: int = _BLOCK
) -> tuple[float, float, float, float, float]:
    """Compare a quantile of two sets of runs.

    Args:
        old: Values of each run in order of time.
        new: The same, after.
        quantile: Which one, in (0, 1).
        rng: Draws.
        block: Neighbours that are drawn together.

    Returns:
        The quantile before and after, the relative change, and the interval of the change.
    """
    a, b = (float(np.quantile(np.concatenate(runs), quantile)) for runs in (old, new))
    size = sum(len(run) for run in (*old, *new))
    times = max(50, min(RESAMPLES, _MOST_DRAWN // max(1, size)))
    drawn = [
        np.array([np.quantile(_resampled(runs, rng, block), quantile) for _ in range(times)]) for runs in (old, new)
    ]
    ratios = drawn[1] / np.maximum(drawn[0], 1e-12) - 1
    low, high = np.quantile(ratios, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return a, b, b / a - 1 if a else math.inf, float(low), float(high)


def verdict_of(change: float, low: float, high: float, tolerance: float) -> Verdict:
    """What to say of a change, the more the worse."""
    if change > tolerance and low > 0:
        return "regression"
    if change < -tolerance and high < 0:
        return "improvement"
    return "same" if -tolerance <= low and high <= tolerance else "unclear"


def _resampled(runs: Runs, rng: np.random.Generator, block: int) -> NDArray[np.float64]:
    chosen = rng.integers(len(runs), size=len(runs)) if len(runs) > 1 else [0]
    return np.concatenate([_blocks(runs[k], rng, block) for k in chosen])


def _blocks(run: NDArray[np.float64], rng: np.random.Generator, block: int) -> NDArray[np.float64]:
    n = len(run)
    # Runs too short for ten stretches of a second are cut into shorter ones.
    length = max(1, min(block, n // 10))
    starts = rng.integers(n - length + 1, size=-(-n // length))
    return np.asarray(run[(starts[:, None] + np.arange(length)).ravel()[:n]])


def _changes(
    key: tuple[tuple[str, Any], ...],
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    tolerance: float,
    rng: np.random.Generator,
) -> Iterator[Change]:
    words = _words(key)
    quiet = old.get("judged", True) and new.get("judged", True)
    for metric, (olds, news, block) in _sampled(old, new).items():
        n = min(sum(map(len, olds)), sum(map(len, news)))
        for name, quantile in QUANTILES.items():
            if name != "p50" and n < _LEAST_FOR_TAIL:
                continue
            before, after, change, low, high = change_of(olds, news, quantile, rng, block)
            verdict = verdict_of(change, low, high, tolerance) if quiet else "not judged"
            runs = min(len(olds), len(news))
            yield Change(words, f"{metric} {name}", before, after, change, low, high, runs, verdict)
    for metric in _PLAIN:
        a, b = old.get(metric), new.get(metric)
        if isinstance(a, int | float) and isinstance(b, int | float) and a:
            yield Change(words, metric, a, b, b / a - 1, None, None, 1, "no interval")


def _sampled(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Runs, Runs, int]]:
    """Whatever both rows have values of: the samples where they are there, histograms else."""
    found: dict[str, tuple[Runs, Runs, int]] = {}
    a, b = (row.get("samples") or {} for row in (old, new))
    for metric in (name for name in a if name in b):
        runs = [[np.asarray(run, np.float64) for run in rows[metric] if len(run)] for rows in (a, b)]
        if all(runs):
            found[metric] = runs[0], runs[1], _BLOCK
    a, b = (row.get("histograms") or {} for row in (old, new))
    for name in (name for name in a if name in b and name != "sleeper" and f"{name}_us" not in found):
        both = [_expanded(rows[name]) for rows in (a, b)]
        if all(len(values) for values in both):
            found[f"{name}_us"] = [both[0]], [both[1]], 1
    return found


def _expanded(payload: str) -> NDArray[np.float64]:
    values, counts = counted_us(payload)
    return np.repeat(values, counts)


def _rows(result: Mapping[str, Any]) -> Iterator[tuple[tuple[tuple[str, Any], ...], Mapping[str, Any]]]:
    """Every row of a result, and of its parts, by what it is of."""
    for name, part in (result.get("parts") or {"": result}).items():
        seen: dict[tuple[tuple[str, Any], ...], int] = {}
        for row in part.get("results", []):
            said = [(entry, row[entry]) for entry in IDENTITY if isinstance(row.get(entry), str | int | float)]
            key = (("benchmark", part.get("benchmark", name)), *said)
            seen[key] = seen.get(key, 0) + 1
            yield (key if seen[key] == 1 else (*key, ("number", seen[key]))), row


def _words(key: tuple[tuple[str, Any], ...]) -> str:
    form: dict[str, Callable[[Any], str]] = {
        "benchmark": str, "decoder": str, "family": str, "executor": str, "reference": str, "transport": str,
        "tap": lambda value: "with tap" if value else "no tap", "packet_ms": lambda value: f"{value:g} ms packets",
    }  # fmt: skip
    return " ".join(form[name](value) if name in form else f"{name} {value}" for name, value in key)


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], names: Sequence[str]) -> dict[str, tuple[Any, Any]]:
    a, b = (result.get("environment") or {} for result in (old, new))
    return {name: (a.get(name), b.get(name)) for name in names if a.get(name) != b.get(name)}
