"""One turn of one service: rig, service, subscriber and sleeper together, and every bin that was due accounted for."""

import os
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cortexwire.bench.live import Child, short_folder
from cortexwire.bench.peers.subscribe import COLUMNS
from cortexwire.bench.services import SERVICES, Running, Setup

LEAD_S: Final = 2.0
"""Signal before the first bin that counts: filters settle, the decoder warms up, the machine finds its pace."""
DRAIN_S: Final = 3.0
"""How long a service may take to catch up after the last packet; what comes later is missed."""
TAIL_S: Final = 0.5
"""Signal after the last bin that counts."""


@dataclass(frozen=True, eq=False)
class Turn:
    """What one turn gave.

    Attributes:
        rows: One row of `COLUMNS` for each bin that was due while it was measured and came.
        velocities: Theirs, `(n_bins, 2)`.
        due: Bins that were due.
        sleeper_us: By how much each sleep of 1 ms was too long.
        core_share: Share of one core that each process took.
        resident_mib: Resident memory of each process when the time was up.
        damaged: Outputs that broke the protocol.
        rig: The rig's summary.
        processes: What each process of the service said at its end.
    """

    rows: NDArray[np.int64]
    velocities: NDArray[np.float64]
    due: int
    sleeper_us: NDArray[np.float64]
    core_share: dict[str, float]
    resident_mib: dict[str, float]
    damaged: int
    rig: dict[str, Any]
    processes: dict[str, Any]

    def column(self, name: str) -> NDArray[np.int64]:
        """One column of the rows."""
        return self.rows[:, COLUMNS.index(name)]

    def between_us(self, first: str, last: str) -> NDArray[np.float64]:
        """Microseconds from one time to another, `(n_bins,)`."""
        return (self.column(last) - self.column(first)) / 1e3

    @property
    def missed(self) -> int:
        """Bins that were due and never came."""
        return self.due - len(self.rows)

    @property
    def drift_us_per_s(self) -> float | None:
        """Slope of latency over time: what a backlog adds each second; None where too few bins came."""
        if len(self.rows) < 2:
            return None
        seconds = (self.column("acquired_ns") - self.column("acquired_ns")[0]) / 1e9
        return float(np.polyfit(seconds, self.between_us("sent_ns", "heard_ns"), 1)[0])


def take_turn(name: str, setup: Setup, seconds: float) -> Turn:
    """Run a service once.

    Args:
        name: Which of `SERVICES`.
        setup: What it is given.
        seconds: How long to measure.

    Raises:
        RunError: A process failed.
    """
    with short_folder() as folder, ExitStack() as opened:
        service = SERVICES[name](setup, folder, opened)
        sleeper = opened.enter_context(Child("sleep", {}))
        rig = opened.enter_context(_rig(setup, service, LEAD_S + seconds + TAIL_S))
        pids = service.pids | {"subscriber": service.subscriber.pid, "rig": rig.pid}
        time.sleep(LEAD_S)
        began_ns, before = time.monotonic_ns(), {role: _cpu_ns(pid) for role, pid in pids.items()}
        _wait(service, began_ns / 1e9 + seconds)
        ended_ns, after = time.monotonic_ns(), {role: _cpu_ns(pid) for role, pid in pids.items()}
        resident_mib = {role: _resident_mib(pid) for role, pid in pids.items()}
        slept = sleeper.stop()["over_ns"]
        sent = rig.result()
        service.subscriber.ended(DRAIN_S)
        heard = service.subscriber.stop()
        processes = service.stop()
    rows = np.array(heard["rows"], np.int64).reshape(-1, len(COLUMNS))
    velocities = np.array(heard["velocities"]).reshape(-1, 2)
    due = bins_due(rows, setup, began_ns, ended_ns)
    counted = (rows[:, 1] >= began_ns) & (rows[:, 1] < ended_ns)
    return Turn(
        rows=rows[counted],
        velocities=velocities[counted],
        due=due,
        sleeper_us=np.array(slept) / 1e3,
        core_share={role: (after[role] - before[role]) / (ended_ns - began_ns) for role in pids},
        resident_mib=resident_mib,
        damaged=heard["damaged"],
        rig=sent,
        processes=processes,
    )


def _rig(setup: Setup, service: Running, seconds: float) -> Child:
    return Child(
        "rig",
        {
            "endpoint": service.ingest,
            "simulator": setup.simulator.model_dump(mode="json"),
            "packet_samples": setup.bins.packet_samples,
            "socket": "pub",
            "bind": False,
            "seconds": seconds,
        },
    )


def _wait(service: Running, until_s: float) -> None:
    """Wait for a time, and look now and then whether all still run."""
    while (left_s := until_s - time.monotonic()) > 0:
        time.sleep(min(left_s, 1.0))
        for child in service.processes.values():
            child.check()


def bins_due(rows: NDArray[np.int64], setup: Setup, began_ns: int, ended_ns: int) -> int:
    """Bins whose last sample the rig's schedule puts into a span of time; the schedule is known from any one bin."""
    bin_ns = round(setup.bins.bin_samples / setup.bins.rate_hz * 1e9)
    if not len(rows):
        return (ended_ns - began_ns) // bin_ns
    known_ns = int(rows[0, 1])
    first, last = -(-(began_ns - known_ns) // bin_ns), -(-(ended_ns - known_ns) // bin_ns)
    return last - first


def _cpu_ns(pid: int) -> int:
    """Processor time of all threads of a process; one that has just ended counts no more."""
    spent = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError):
            spent += int((task / "schedstat").read_text().split()[0])
    return spent


def _resident_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
