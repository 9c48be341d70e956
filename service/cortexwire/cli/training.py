"""What somebody who waits for a training sees: one bar for each of its stages, and the validation score as it grows."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from cortexwire.training.progress import Epoch
    from cortexwire.training.search import Tried


class Watcher(Protocol):
    """What a training tells."""

    def stage(self, name: str) -> None:
        """Hear that a stage begins."""

    def read(self, share: float) -> None:
        """Hear which share of the sessions was read."""

    def tried(self, trial: "Tried") -> None:
        """Hear of a trial of the search."""


class Silent:
    """Nobody watches."""

    def stage(self, name: str) -> None:
        """Ignore it."""

    def read(self, share: float) -> None:
        """Ignore it."""

    def tried(self, trial: "Tried") -> None:
        """Ignore it."""


class Bars:
    """Bars on a terminal.

    Args:
        bars: A `rich.progress.Progress` whose tasks have a field `score`.
    """

    def __init__(self, bars: Any) -> None:
        self._bars = bars
        self._task: Any = None
        self._best = float("-inf")
        self._searching = False

    def stage(self, name: str) -> None:
        """Begin a bar; the ones before stay, full."""
        if self._task is not None:
            self._bars.update(self._task, completed=1.0)
        self._task = self._bars.add_task(name, total=1.0, score="")
        self._best = float("-inf")
        self._searching = name == "searching"

    def read(self, share: float) -> None:
        """Move the bar."""
        self._bars.update(self._task, completed=share)

    def tried(self, trial: "Tried") -> None:
        """Move the bar to a trial, and show the best score."""
        self._bars.update(
            self._task,
            completed=trial.number / trial.trials,
            score=f"trial {trial.number} of {trial.trials}, validation R2 {trial.score:.3f}, best {trial.best:.3f}",
        )

    def epoch(self, epoch: "Epoch") -> None:
        """Move the bar to an epoch, and show the validation score; within a search its trials count instead."""
        if self._searching:
            return
        score = sum(epoch.validation_r2) / max(len(epoch.validation_r2), 1)
        self._best = max(self._best, score)
        said = f"epoch {epoch.number}, validation R2 {score:.3f}, best {self._best:.3f}, loss {epoch.loss:.3f}"
        self._bars.update(self._task, completed=epoch.done, score=said)


@contextmanager
def watching() -> Iterator[Watcher]:
    """Show bars on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield Silent()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    from cortexwire.training.progress import listening

    shown = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[score]}"),
    )
    with Progress(*shown, console=Console(stderr=True), transient=True) as progress:
        bars = Bars(progress)
        with listening(bars.epoch):
            yield bars
