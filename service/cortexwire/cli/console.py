"""How commands talk: JSON for programs, aligned words for people, progress only where somebody watches.

Results go to standard output; logs, progress and errors to standard error, so that a pipe gets results alone.
"""

import re
import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import typer

_TOKEN: Final = "cwt_"


def show_json(values: Any) -> None:
    """Write one JSON object on one line; what is not finite becomes null."""
    import msgspec

    typer.echo(msgspec.json.encode(values, enc_hook=_plain))


def _plain(value: Any) -> Any:
    for method in ("tolist", "_asdict"):
        if hasattr(value, method):
            return getattr(value, method)()
    return str(value)


def show_rows(rows: Mapping[str, Any], title: str = "") -> None:
    """Write names and values in two columns."""
    if title:
        typer.secho(title, bold=True)
    width = max((len(name) for name in rows), default=0)
    for name, value in rows.items():
        typer.echo(f"  {name:<{width}}  {value}")


def show_table(names: Sequence[str], rows: Sequence[Sequence[str]], left: int = 0) -> None:
    """Write rows under column names, the first `left` columns to the left, the others, numbers, to the right."""
    lines = [tuple(names), *(tuple(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(names))]
    for number, line in enumerate(lines):
        sides = "<" * left + ">" * (len(names) - left)
        text = "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(line, sides, widths, strict=True))
        typer.secho(f"  {text}", bold=number == 0)


def budgets_in_words(budgets: Mapping[str, str]) -> str:
    """Say how an engine's budget lines stand: which are over, or that none is."""
    over = [line for line, standing in budgets.items() if standing == "over"]
    if over:
        return f"OVER: {'; '.join(over)}"
    return f"all {len(budgets)} within" if budgets else "none watched"


def note(text: str) -> None:
    """Say something that is no result."""
    typer.secho(text, err=True, dim=True)


@contextmanager
def progress(label: str) -> Iterator[Callable[[float], None]]:
    """A bar on a terminal, nothing elsewhere; call what it gives with the share that is done."""
    if not sys.stderr.isatty():
        yield lambda _share: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=1.0)
        yield lambda share: bar.update(task, completed=share)


@contextmanager
def progress_of_parts(label: str) -> Iterator[Callable[[float, str], None]]:
    """The same for work of several parts: call what it gives with the share that is done and what is being done."""
    if not sys.stderr.isatty():
        yield lambda _share, _what: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=1.0)
        yield lambda share, what: bar.update(task, completed=share, description=what)


def _redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Take the secret out of whatever looks like one of our tokens: no log is worth one."""
    for name, value in event.items():
        if isinstance(value, str) and _TOKEN in value:
            event[name] = re.sub(rf"({_TOKEN}[0-9a-f]{{8}}_)[\w-]+", r"\1***", value)
    return event


def log_to_stderr(json: bool | None = None) -> bool:
    """Send the log of this process to standard error.

    Args:
        json: Whether as JSON lines, or else as coloured words; None means words on a terminal and JSON elsewhere.

    Returns:
        Whether it is JSON.
    """
    import structlog

    human = sys.stderr.isatty() if json is None else not json
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)

    def stamped(logger: Any, method: str, event: Any) -> Any:
        """What another process logged keeps its own time."""
        return event if "timestamp" in event else stamp(logger, method, event)

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            stamped,
            _redact,
            *([] if human else [structlog.processors.dict_tracebacks]),
            structlog.dev.ConsoleRenderer() if human else structlog.processors.JSONRenderer(default=str),
        ],
        # Looked up at each message: whoever replaces standard error, and puts it back, finds the log there.
        logger_factory=lambda *_: structlog.WriteLogger(sys.stderr),
    )
    return not human
