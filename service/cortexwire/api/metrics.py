"""Prometheus metrics: what the telemetry has counted, read at the time of the scrape.

Nothing is counted twice: counters and histograms are the engine's own, so a scrape costs the engine nothing and a
restarted API loses nothing. Labels have few values: stages, states, budget lines, flags of channels.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from cortexwire.api.monitor import Monitor
from cortexwire.api.picture import FLAGS
from cortexwire.api.recorder import RecorderStatus
from cortexwire.runtime.histogram import N_CLASSES, Histogram, class_upper_ns
from cortexwire.runtime.telemetry import PACKET_CPU, STATES, TelemetrySnapshot

BUCKETS_S: Final = (
    *(50e-6, 100e-6, 150e-6, 200e-6, 300e-6, 400e-6, 600e-6, 800e-6),
    *(1e-3, 1.5e-3, 2e-3, 3e-3, 5e-3, 10e-3, 20e-3, 50e-3, 100e-3, 1.0),
)
"""Upper edges of the buckets: close around the budgets of a bin, wide beyond them."""

_UPPER_NS: Final = np.array([class_upper_ns(index) for index in range(N_CLASSES)])
_MIDDLE_S: Final = (_UPPER_NS + np.concatenate(([0], _UPPER_NS[:-1] + 1))) / 2e9
_EDGES: Final = [int(np.searchsorted(_UPPER_NS, round(edge * 1e9), side="right")) for edge in BUCKETS_S]
_RENAMED: Final = {"decoded_bins": "bins", "accepted": "accepted_packets"}
_FALLING: Final = frozenset({"lost_packets", "duplicates", "reordered_unused", "old_epoch"})
_MALFORMED: Final = "malformed_"
_RECORDER_COUNTERS: Final = ("records", "written_bytes", "lost_records", "lost_samples", "stalls", "syncs")
_RECORDER_GAUGES: Final = ("durable_bytes", "queued_bytes", "behind_bytes", "free_bytes")


class Metrics:
    """Everything that a scrape gets.

    Args:
        monitor: What is known of the engine.
    """

    def __init__(self, monitor: Monitor) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Collector(monitor))
        ProcessCollector(namespace="cortexwire_api", registry=self._registry)

    def text(self) -> bytes:
        """The exposition format, version 0.0.4."""
        return generate_latest(self._registry)


class _Collector(Collector):
    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor

    def describe(self) -> Iterator[Metric]:
        """Nothing in advance: what there is depends on the engine."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """All metrics, as things stand."""
        monitor = self._monitor
        monitor.refresh()
        engine = monitor.engine
        yield _gauge("up", "Whether an engine's telemetry is fresh.", monitor.writer == "live")
        yield _gauge(
            "stale", "Whether what is shown is not what is: no fresh telemetry, or a silent stream.", monitor.stale
        )
        tap = CounterMetricFamily(
            "cortexwire_api_tap_lost_records", "Records of the tap that the API came too late for."
        )
        tap.add_metric((), monitor.tail.lost)
        yield tap
        if engine is not None:
            yield from _engine(engine)
            yield from _latency(engine)
            info = InfoMetricFamily("cortexwire_bundle", "The bundle that decodes.")
            info.add_metric((), {"name": monitor.bundle.name, "hash": f"{monitor.bundle_hash:016x}"})
            yield info
        yield from _recorder(monitor.recorder)


def _gauge(name: str, says: str, value: float) -> Metric:
    return GaugeMetricFamily(f"cortexwire_{name}", says, value=float(value))


def _labelled(name: str, says: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"cortexwire_{name}", says, labels=[label])
    for key, value in values.items():
        family.add_metric([key], float(value))
    return family


def _engine(engine: TelemetrySnapshot) -> Iterator[Metric]:
    status = engine.status
    yield _gauge("armed", "Whether outputs may be commands.", status.armed)
    states = {state: state == status.state for state in STATES}
    yield _labelled("engine_state", "1 for the state that the engine is in.", "state", states)
    yield _gauge("heartbeat_age_seconds", "Age of the telemetry.", engine.age_ns / 1e9)
    yield _gauge("start_time_seconds", "Start of the engine, Unix time.", engine.started_realtime_ns / 1e9)
    yield _gauge("bin", "Number of the newest bin in its epoch.", status.bin)
    yield _gauge("sample_rate_hertz", "Sample rate of the stream.", status.rate.hz)
    flags = {name: int((status.status & bit != 0).sum()) for name, bit in FLAGS.items()}
    flags["good"] = int((status.status == 0).sum())
    yield _labelled("channels", "Channels by what is wrong with them.", "status", flags)
    yield _labelled("budget_over", "1 for a latency budget in breach.", "line", engine.budgets)
    yield CounterMetricFamily("cortexwire_notes", "Times that the engine had something to say.", value=status.notes)
    malformed = CounterMetricFamily("cortexwire_malformed_packets", "Frames that are no packet.", labels=["reason"])
    for name, count in engine.counters.items():
        if name.startswith(_MALFORMED):
            malformed.add_metric([name.removeprefix(_MALFORMED)], count)
            continue
        full = f"cortexwire_{_RENAMED.get(name, name)}"
        says = f"The engine's count of {name.replace('_', ' ')}."
        if name in _FALLING:
            yield GaugeMetricFamily(full, f"{says} It may fall.", value=count)
        else:
            yield CounterMetricFamily(full, says, value=count)
    yield malformed


def _latency(engine: TelemetrySnapshot) -> Iterator[Metric]:
    family = HistogramMetricFamily(
        "cortexwire_stage_latency_seconds", "Time that a bin spends in a stage.", labels=["stage"]
    )
    for stage, histogram in engine.latency.items():
        buckets, total = _buckets(histogram)
        if stage == PACKET_CPU:
            says = "Processor time that the hot thread takes for a packet."
            yield HistogramMetricFamily("cortexwire_packet_cpu_seconds", says, buckets, total)
        else:
            family.add_metric([stage], buckets, total)
    yield family


def _buckets(histogram: Histogram) -> tuple[list[tuple[str, float]], float]:
    """Counts up to each edge (a duration in the class at an edge counts beyond it), and the durations' sum."""
    counts = histogram.table[:N_CLASSES].astype(np.float64)
    running = np.concatenate(([0.0], np.cumsum(counts)))
    buckets = [(repr(edge), float(running[index])) for edge, index in zip(BUCKETS_S, _EDGES, strict=True)]
    return [*buckets, ("+Inf", float(running[-1]))], float(counts @ _MIDDLE_S)


def _recorder(status: RecorderStatus | None) -> Iterator[Metric]:
    found: dict[str, Any] = status or {}
    yield _gauge("recorder_up", "Whether a recorder runs.", found.get("health") == "live")
    yield _gauge("recording", "Whether it records.", found.get("state") == "recording")
    for name in _RECORDER_COUNTERS:
        if name in found:
            says = f"The recorder's count of {name.replace('_', ' ')} in this recording."
            yield CounterMetricFamily(f"cortexwire_recorder_{name}", says, value=found[name])
    for name in _RECORDER_GAUGES:
        if name in found:
            yield _gauge(f"recorder_{name}", f"The recorder's {name.replace('_', ' ')}.", found[name])
