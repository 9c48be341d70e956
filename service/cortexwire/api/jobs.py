"""Jobs: what takes longer than an answer may, followed in the background until its end is seen."""

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from cortexwire.api.problems import ProblemError

KEPT: Final = 100
"""Jobs remembered, the newest ones."""
MOST_RUNNING: Final = 16
"""Jobs at a time."""

JobState = Literal["running", "done", "failed"]


@dataclass
class Job:
    """One of them.

    Attributes:
        id: Its name.
        kind: What it does: `recalibrate`, `stage_bundle`, `activate_bundle`.
        state: Whether it runs, or how it ended.
        progress: Share done, 0 to 1.
        phase: What is being done.
        result: What came of it.
        problem: Why it failed.
        began_ns: When, CLOCK_REALTIME.
        ended_ns: When, CLOCK_REALTIME.
    """

    kind: str
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    state: JobState = "running"
    progress: float = 0.0
    phase: str = "begun"
    result: dict[str, Any] | None = None
    problem: str | None = None
    began_ns: int = field(default_factory=time.time_ns)
    ended_ns: int | None = None


@dataclass(frozen=True)
class Step:
    """What a job's follower saw.

    Attributes:
        progress: Share done.
        phase: What is being done.
        result: What came of it, at the end.
    """

    progress: float
    phase: str
    result: dict[str, Any] | None = None


class JobError(Exception):
    """A job ended without doing what it was for."""


class Jobs:
    """All jobs of a service."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def check_room(self) -> None:
        """Make sure that one more may run.

        Raises:
            ProblemError: Too many run (429).
        """
        if len(self._tasks) >= MOST_RUNNING:
            raise ProblemError(429, f"expected at most {MOST_RUNNING} jobs at a time", headers={"Retry-After": "5"})

    def begin(self, kind: str, steps: AsyncGenerator[Step, None]) -> Job:
        """Follow something to its end; a job of the same kind that still runs has been superseded."""
        for other in self._jobs.values():
            if other.kind == kind and other.state == "running":
                self._tasks[other.id].cancel()
        job = Job(kind)
        self._jobs[job.id] = job
        while len(self._jobs) > KEPT:
            self._jobs.popitem(last=False)
        task = asyncio.get_running_loop().create_task(self._follow(job, steps))
        self._tasks[job.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(job.id, None))
        return job

    async def _follow(self, job: Job, steps: AsyncGenerator[Step, None]) -> None:
        try:
            async with aclosing(steps) as seen:
                async for step in seen:
                    job.progress, job.phase, job.result = step.progress, step.phase, step.result
            job.state, job.progress, job.phase = "done", 1.0, "done"
        except (JobError, ProblemError) as error:
            job.state, job.problem, job.phase = "failed", str(error), "failed"
        except asyncio.CancelledError:
            job.state, job.problem, job.phase = "failed", "superseded, or the service stopped", "failed"
        except Exception as error:
            job.state, job.problem, job.phase = "failed", f"{type(error).__name__}: {error}", "failed"
        finally:
            job.ended_ns = time.time_ns()

    def all(self) -> list[Job]:
        """The jobs, the newest first."""
        return list(reversed(self._jobs.values()))

    def job(self, id_: str) -> Job:
        """One job.

        Raises:
            ProblemError: There is none of this name (404).
        """
        found = self._jobs.get(id_)
        if found is None:
            raise ProblemError(404, f"expected the id of a job, got {id_!r}")
        return found

    async def close(self) -> None:
        """Give up what still runs."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
