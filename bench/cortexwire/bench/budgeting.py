"""Judging results by budgets: which line broke, by how much, and which could not be judged.

Results are rows as `bench latency` gives them: `sent_to_received_us`, `due_to_received_us` and `sleeper_us` with
percentiles, `stages_us` with percentiles by stage, and resources by name. In those of `bench peers` the engine is one
of several `services`, and the others are its reference chains. What a machine does to a bare sleeper it does to every
service, so where the sleeper's p99 is above `MOST_SLEEPER_P99_US` no line above the median is judged; neither is one
of which a row has no figure. A line that was not judged has not failed, unless one asks for that.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from cortexwire.bench.distribution import MOST_SLEEPER_P99_US
from cortexwire.bench.services import ENGINE
from cortexwire.runtime.budgets import PERCENTILES, Budgets, LatencyBudget, ResourceBudget

MEDIAN: Final = 50.0

Row = Mapping[str, Any]
Outcome = Literal["held", "broken", "not judged"]


@dataclass(frozen=True)
class LineVerdict:
    """How one line fared in one row.

    Attributes:
        line: The line as the file has it, such as `binned_to_decoded p99 <= 600 us`.
        what: What it limits, such as `binned_to_decoded p99`.
        stage: Stage or resource.
        channels: Number of channels of the row; None where no row fits the line.
        load: What the row is of, such as `1024 channels, incremental`; empty where no row fits the line.
        outcome: What came of it.
        unit: Of value and limit; empty for a share.
        value: What was measured.
        limit: What it may be.
        why: How a relative limit came about, or why nothing was judged.
    """

    line: str
    what: str
    stage: str
    channels: int | None
    load: str
    outcome: Outcome
    unit: str = ""
    value: float | None = None
    limit: float | None = None
    why: str = ""

    @property
    def sentence(self) -> str:
        """The verdict in words, with what it was over by."""
        where = f"{self.what} at {self.load}" if self.load else self.what
        if self.value is None or self.limit is None:
            return f"{where}: {self.outcome}: {self.why}"
        unit = f" {self.unit}" if self.unit else ""
        budget = f"budget {_figure(self.limit)}{unit}" + (f" ({self.why})" if self.why else "")
        said = f"{where}: {_figure(self.value)}{unit}, {budget}"
        if self.outcome != "broken":
            return said
        over = self.value - self.limit
        share = f" ({100 * over / self.limit:.0f} %)" if self.limit > 0 else ""
        return f"{said}: over by {_figure(over)}{unit}{share}"


@dataclass(frozen=True)
class Verdict:
    """How all lines fared.

    Attributes:
        lines: One for each line and row that it is for, and one for each line that is for no row.
    """

    lines: tuple[LineVerdict, ...]

    def of(self, outcome: Outcome) -> tuple[LineVerdict, ...]:
        """The lines with this outcome."""
        return tuple(line for line in self.lines if line.outcome == outcome)

    def passed(self, *, strict: bool = False) -> bool:
        """Whether no line broke; with `strict`, also whether every line was judged."""
        return not self.of("broken") and not (strict and self.of("not judged"))

    @property
    def sentences(self) -> list[str]:
        """What broke, then what was not judged, then how many lines held."""
        broken, unjudged, held = (self.of(outcome) for outcome in ("broken", "not judged", "held"))
        return [
            *(f"over budget: {line.sentence}" for line in broken),
            *(line.sentence for line in unjudged),
            f"budgets: {len(held)} held, {len(broken)} broken, {len(unjudged)} not judged",
        ]

    def as_json(self, *, strict: bool = False) -> dict[str, Any]:
        """JSON-able: `passed`, and each line with its figures."""
        return {
            "passed": self.passed(strict=strict),
            "broken": [line.sentence for line in self.of("broken")],
            "not_judged": [line.sentence for line in self.of("not judged")],
            "lines": [
                {
                    "line": line.line,
                    "channels": line.channels,
                    "load": line.load,
                    "outcome": line.outcome,
                    "value": line.value,
                    "limit": line.limit,
                    "unit": line.unit,
                    "why": line.why,
                }
                for line in self.lines
            ],
        }


def judge(results: Mapping[str, Any], budgets: Budgets) -> Verdict:
    """Judge results by budgets.

    Args:
        results: What a benchmark gives: its rows under `results`; those without channels are no runs of a service.
        budgets: The lines.
    """
    rows = [_engine(row) for row in results["results"] if "channels" in row]
    lines: list[LatencyBudget | ResourceBudget] = [*budgets.latency, *budgets.resource]
    return Verdict(tuple(verdict for line in lines for verdict in _line(line, rows)))


def _engine(row: Row) -> Row:
    """A row of the engine; where it is one of several services, its own, with the others as reference chains."""
    if "services" not in row:
        return row
    services = {name: _service(found) for name, found in row["services"].items()}
    return {"channels": row["channels"], **services.pop(ENGINE), "references": services}


def _service(found: Row) -> Row:
    """What a service did, named as in a run of the engine alone; what there is of one that is absent or failed."""
    compute, share, resident = (found.get(name) for name in ("compute_us", "core_share", "resident_mib"))
    return {
        **found,
        **({} if compute is None else {"stages_us": {"received_to_published": compute}}),
        **({"engine_core_share": share[ENGINE]} if share and ENGINE in share else {}),
        **({"engine_resident_mib": resident[ENGINE]} if resident and ENGINE in resident else {}),
    }


def _line(line: LatencyBudget | ResourceBudget, rows: Sequence[Row]) -> Iterator[LineVerdict]:
    fitting = [row for row in rows if not line.channels or row["channels"] in line.channels]
    if not fitting:
        wanted = " or ".join(map(str, line.channels))
        yield _unjudged(line, None, f"no result at {wanted} channels" if wanted else "no results")
    for row in fitting:
        yield _latency(line, row) if isinstance(line, LatencyBudget) else _resource(line, row)


def _latency(line: LatencyBudget, row: Row) -> LineVerdict:
    value = _percentile(row, line.stage, line.percentile)
    if value is None:
        return _unjudged(line, row, f"{line.what} was not measured")
    if line.percentile > MEDIAN:
        late = _named(row.get("sleeper_us"), 99.0)
        if late is None:
            return _unjudged(line, row, "no sleeper ran beside it")
        if late > MOST_SLEEPER_P99_US:
            return _unjudged(line, row, f"the bare sleeper's p99 is {late:.0f} us, above {MOST_SLEEPER_P99_US:.0f} us")
    if line.max_us is not None:
        return _judged(line, row, "us", value, line.max_us)
    if line.over_sleeper_us is not None:
        base = _named(row.get("sleeper_us"), line.percentile)
        if base is None:
            return _unjudged(line, row, "no sleeper ran beside it")
        limit = base + line.over_sleeper_us
        return _judged(line, row, "us", value, limit, f"sleeper {_figure(base)} us + {line.over_sleeper_us:g} us")
    over = line.over_reference
    assert over is not None
    base = _percentile(row.get("references", {}).get(over.name, {}), line.stage, line.percentile)
    if base is None:
        return _unjudged(line, row, f"the run has no {line.what} of a reference chain {over.name!r}")
    factor = "" if over.factor == 1 else f"{over.factor:g} x "
    why = f"{factor}{over.name} {_figure(base)} us + {over.plus_us:g} us"
    return _judged(line, row, "us", value, over.factor * base + over.plus_us, why)


def _resource(line: ResourceBudget, row: Row) -> LineVerdict:
    value = row.get(line.name)
    if not isinstance(value, int | float):
        return _unjudged(line, row, f"{line.name} was not measured")
    return _judged(line, row, "MiB" if line.name.endswith("_mib") else "", float(value), line.max)


def _percentile(row: Row, stage: str, percentile: float) -> float | None:
    """A stage's percentile in microseconds, wherever the row keeps it."""
    found = row.get("stages_us", {}).get(stage)
    return _named(row.get(f"{stage}_us") if found is None else found, percentile)


def _named(table: Mapping[str, float] | None, percentile: float) -> float | None:
    """A percentile of a table; None where it is absent, or the table is one of nothing, which is all zeros."""
    if not table or not any(table.values()):
        return None
    value = table.get(PERCENTILES[percentile])
    return None if value is None else float(value)


def _judged(
    line: LatencyBudget | ResourceBudget, row: Row, unit: str, value: float, limit: float, why: str = ""
) -> LineVerdict:
    outcome: Outcome = "broken" if value > limit else "held"
    return LineVerdict(
        str(line), line.what, _stage(line), int(row["channels"]), _load(row), outcome, unit, value, limit, why
    )


def _unjudged(line: LatencyBudget | ResourceBudget, row: Row | None, why: str) -> LineVerdict:
    channels, load = (None, "") if row is None else (int(row["channels"]), _load(row))
    return LineVerdict(str(line), line.what, _stage(line), channels, load, "not judged", why=why)


def _load(row: Row) -> str:
    """What tells rows of one result from each other."""
    executor, packet_ms = row.get("executor", "onnx"), row.get("packet_ms", 1.0)
    more = ("" if executor == "onnx" else f", {executor}") + ("" if packet_ms == 1 else f", {packet_ms:g} ms packets")
    return f"{row['channels']} channels{more}"


def _stage(line: LatencyBudget | ResourceBudget) -> str:
    return line.stage if isinstance(line, LatencyBudget) else line.name


def _figure(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
