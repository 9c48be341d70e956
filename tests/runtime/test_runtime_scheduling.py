import os
import resource
import subprocess
import sys
import threading

import pytest

from cortexwire.config import RealtimeSettings
from cortexwire.runtime.scheduling import SchedulingReport, apply_scheduling, fifo_permitted


def in_a_thread(settings: RealtimeSettings) -> SchedulingReport:
    reports: list[SchedulingReport] = []
    thread = threading.Thread(target=lambda: reports.append(apply_scheduling(settings)))
    thread.start()
    thread.join()
    return reports[0]


def test_nothing_asked_for_changes_nothing() -> None:
    before = os.sched_getaffinity(0)
    report = in_a_thread(RealtimeSettings(slice_us=None))
    assert report == SchedulingReport(None, None, False, tuple(sorted(before)), ())


def test_the_report_says_what_the_kernel_says() -> None:
    cpu = min(os.sched_getaffinity(0))
    report = in_a_thread(RealtimeSettings(cpu=cpu, fifo_priority=5, slice_us=None))
    assert report.cpus == (cpu,)
    if fifo_permitted(5):
        assert report.fifo_priority == 5
        assert report.refusals == ()
    else:
        assert report.fifo_priority is None
        assert "realtime.fifo_priority=5" in report.refusals[0]
    assert os.sched_getscheduler(0) == os.SCHED_OTHER


def test_a_slice_is_what_the_kernel_gives_or_refused_in_words() -> None:
    report = in_a_thread(RealtimeSettings(slice_us=200))
    if report.slice_us is None:
        assert report.refusals[0].startswith("realtime.slice_us=200: ")
    else:
        assert report.slice_us == 200.0
        assert report.refusals == ()


def test_what_is_refused_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    assert not fifo_permitted(50)
    report = in_a_thread(RealtimeSettings(cpu=4095, fifo_priority=50, slice_us=None))
    assert report.fifo_priority is None
    assert [refusal.partition(":")[0] for refusal in report.refusals] == [
        "realtime.cpu=4095",
        "realtime.fifo_priority=50",
    ]


def test_memory_is_locked_or_the_refusal_named() -> None:
    code = (
        "from cortexwire.config import RealtimeSettings\n"
        "from cortexwire.runtime.scheduling import apply_scheduling\n"
        "report = apply_scheduling(RealtimeSettings(lock_memory=True))\n"
        "locked = int(open('/proc/self/status').read().split('VmLck:')[1].split()[0]) > 0\n"
        "assert report.memory_locked == locked\n"
        "assert report.memory_locked or 'realtime.lock_memory' in report.refusals[0]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_memory_is_not_locked_where_that_could_starve_the_running_engine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (8192, 8192))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    report = in_a_thread(RealtimeSettings(lock_memory=True))
    assert not report.memory_locked
    assert "RLIMIT_MEMLOCK is 8192 bytes" in report.refusals[0]
