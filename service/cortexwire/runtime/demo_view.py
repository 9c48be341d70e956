"""The demo on a terminal: cursor and intention in a box, velocities over time, channels, latency, faults."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import numpy as np
from rich.align import Align
from rich.console import Console, Group, RenderableType
from rich.layout import Layout
from rich.live import Live
from rich.panel import Panel
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from cortexwire.runtime.braille import Canvas
from cortexwire.runtime.demo import DemoScene, latency
from cortexwire.runtime.demo_record import TRAIL_BINS, DemoRecord
from cortexwire.signal.binning import DEAD, DISABLED, MASKED, RAILING
from cortexwire.wire import OutFlag, Validity

FRAME_S: Final = 0.1
"""Time between two pictures."""
BOX: Final = 8.0
"""Half the width of the cursor's box, in the velocity's unit of length."""
SPEED: Final = 30.0
"""Largest velocity drawn."""
DECODED, INTENDED, QUIET, GOOD, BAD = "cyan", "yellow", "bright_black", "green", "red"

_BARS = "▁▂▃▄▅▆▇█"
_FULL_HZ = 50.0
_RECENT = 250
_LONG_MS = 20
_WIDE = 80
_SMALL = "too small a terminal: 70 x 22 characters show everything"
_FAULTY: Final = {MASKED: "m", DEAD: "d", RAILING: "r", DISABLED: "x"}


@contextmanager
def live_view() -> Iterator["LiveView"]:
    """Take the whole terminal, and give it back as it was."""
    console = Console()
    with Live(console=console, screen=True, auto_refresh=False) as live:
        yield LiveView(live, console)


class LiveView:
    """Draws a demo over and over.

    Args:
        live: Where to draw.
        console: The terminal.
    """

    def __init__(self, live: Live, console: Console) -> None:
        self._live = live
        self._console = console
        self._drawn = 0.0
        self._waiting = Spinner("dots", text="")

    def say(self, text: str) -> None:
        """Say what is being waited for."""
        self._waiting = Spinner("dots", text=text)
        self._live.update(Align.center(self._waiting, vertical="middle"), refresh=True)

    def show(self, scene: DemoScene) -> None:
        """Draw, if the last picture is old enough."""
        now = time.monotonic()
        if now - self._drawn < FRAME_S:
            return
        self._drawn = now
        if not scene.record.decoded:
            self._live.update(Align.center(self._waiting, vertical="middle"), refresh=True)
            return
        self._live.update(picture(scene, self._console.width, self._console.height), refresh=True)


def picture(scene: DemoScene, width: int, height: int) -> RenderableType:
    """The whole picture for a terminal of so many characters."""
    if width < 60 or height < 18:
        return Align.center(Text(_SMALL), vertical="middle")
    per_row = width - 4
    channel_rows = -(-len(scene.record.rates_hz) // per_row)
    box_height = height - 1 - (channel_rows + 2)
    box_width = min(2 * (box_height - 2) + 2, 2 * width // 5)
    layout = Layout()
    layout.split_column(
        Layout(_heading(scene, width), name="heading", size=1),
        Layout(name="body", size=box_height),
        Layout(_channels(scene, per_row), name="channels", size=channel_rows + 2),
    )
    right = width - box_width
    table_height = 9
    layout["body"].split_row(
        Layout(_box(scene.record, box_width - 2, box_height - 2), size=box_width),
        Layout(name="right"),
    )
    plots = box_height - table_height
    layout["right"].split_column(
        Layout(_velocities(scene, right - 4, plots - 2), size=plots),
        Layout(_numbers(scene), size=table_height),
    )
    return layout


def _heading(scene: DemoScene, width: int) -> RenderableType:
    record, last = scene.record, scene.record.last
    armed = last is not None and OutFlag.ARMED in last.flags
    state = "waiting" if scene.engine is None else scene.engine.status.state
    line = Table.grid(expand=True)
    line.add_column()
    line.add_column(justify="right")
    left = Text.assemble(
        (" cortexwire demo ", "bold reverse"),
        "  ",
        ("● armed" if armed else "○ disarmed", f"bold {GOOD if armed else QUIET}"),
        "  ",
        (state, GOOD if state == "running" else INTENDED),
        (f"  seed {scene.seed}", QUIET),
        (f"  {scene.page}" if scene.page is not None and width >= _WIDE else "", "underline"),
    )
    wanted = "" if scene.seconds is None else f" of {scene.seconds:g}"
    ends = "  Ctrl-C ends" if width >= _WIDE else ""
    line.add_row(left, Text(f"{record.seconds:.1f}{wanted} s{ends} "))
    return line


def _box(record: DemoRecord, columns: int, rows: int) -> RenderableType:
    canvas = Canvas(columns, rows, (-BOX, BOX), (-BOX, BOX))
    canvas.points([(0.0, y) for y in np.linspace(-BOX, BOX, 9)] + [(x, 0.0) for x in np.linspace(-BOX, BOX, 9)], QUIET)
    target, cursor = list(record.target)[-60:], list(record.cursor)[-60:]
    canvas.line(target, INTENDED)
    canvas.line(cursor, DECODED)
    canvas.mark(*target[-1], "○", f"bold {INTENDED}")
    canvas.mark(*cursor[-1], "●", f"bold {DECODED}")
    title = Text.assemble(("○ intended", INTENDED), "  ", ("● decoded", DECODED))
    return Panel(canvas.text(), title=title, border_style=QUIET, padding=0)


def _velocities(scene: DemoScene, columns: int, rows: int) -> RenderableType:
    record = scene.record
    upper = (rows + 1) // 2
    parts = []
    for axis, (name, height) in enumerate((("x", upper), ("y", rows - upper))):
        canvas = Canvas(columns - 2, max(1, height), (0, TRAIL_BINS - 1), (-SPEED, SPEED))
        canvas.points([(bin_, 0.0) for bin_ in range(0, TRAIL_BINS, 6)], QUIET)
        for series, style in ((record.intents, INTENDED), (record.velocities, DECODED)):
            values = [pair[axis] for pair in list(series)]
            canvas.line([(TRAIL_BINS - len(values) + n, value) for n, value in enumerate(values)], style)
        row = Table.grid()
        row.add_row(Text(f"{name} ", QUIET), canvas.text())
        parts.append(row)
    title = f"velocity, ±{SPEED:g} {scene.unit}, last 3 s"
    return Panel(Group(*parts), title=title, border_style=QUIET, padding=(0, 1))


def _numbers(scene: DemoScene) -> RenderableType:
    record, engine = scene.record, scene.engine
    counters = {} if engine is None else engine.counters
    took = latency(record.latencies_ms[-_RECENT:])
    lost = counters.get("lost_packets", 0) + counters.get("gaps", 0)
    malformed = sum(count for name, count in counters.items() if name.startswith("malformed_"))
    table = Table.grid(padding=(0, 2))
    table.add_column(style=QUIET, no_wrap=True, min_width=9)
    table.add_column(no_wrap=True, overflow="ellipsis")
    rows = {
        "latency": _latency(took),
        "": Text(sparkline(record.latencies_ms[-40:]), style=GOOD),
        "bins": _counts({"decoded": record.decoded, "late": record.late, "invalid": record.not_valid}, "decoded"),
        "faults": _counts({"lost": lost, "malformed": malformed, "outputs": record.missing_bins}),
        "validity": _validity(record),
        "engine": _line(_engine(scene)),
        "last note": _line("-" if engine is None else engine.status.last_note or "-"),
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return Panel(table, title="closing packet sent → velocity received", border_style=QUIET, padding=(0, 1))


def _line(text: str) -> Text:
    return Text(text, overflow="ellipsis", no_wrap=True)


def _latency(took: dict[str, float]) -> Text:
    text = Text()
    for name, value in took.items():
        text.append(f"{name} ", QUIET)
        text.append(f"{value:.2f}  ", GOOD if value < _LONG_MS else BAD)
    return text.append("ms", QUIET)


def _counts(counts: dict[str, int], good: str = "") -> Text:
    text = Text()
    for name, count in counts.items():
        text.append(f"{name} ", QUIET)
        text.append(f"{count}  ", GOOD if name == good or not count else BAD)
    return text


def _validity(record: DemoRecord) -> Text:
    last = record.last
    if last is None:
        return Text("-")
    named = [flag.name.lower() for flag in OutFlag if flag in last.flags and flag.name]
    valid = last.validity is Validity.VALID
    return Text.assemble((last.validity.name.lower(), GOOD if valid else BAD), (f"  {' '.join(named)}", QUIET))


def _engine(scene: DemoScene) -> str:
    engine = scene.engine
    if engine is None:
        return "-"
    frames = engine.counters.get("frames", 0)
    step = engine.latency["received_to_binned"].summary(), engine.latency["binned_to_decoded"].summary()
    return f"{frames} packets, bins p99 {step[0].p99_ns / 1e3:.0f} us, decoder p99 {step[1].p99_ns / 1e3:.0f} us"


def _channels(scene: DemoScene, per_row: int) -> RenderableType:
    status = None if scene.engine is None else scene.engine.status.status
    text = Text(no_wrap=True)
    rates = scene.record.rates_hz
    for channel, rate in enumerate(rates):
        if channel and channel % per_row == 0:
            text.append("\n")
        bits = int(status[channel]) if status is not None and channel < len(status) else 0
        fault = next((letter for bit, letter in _FAULTY.items() if bits & bit), "")
        text.append(fault or bar(rate / _FULL_HZ), BAD if fault else _warmth(rate))
    median = float(np.median(rates))
    title = f"{len(rates)} channels, crossings per second: median {median:.0f}; d dead, r railing, x disabled"
    return Panel(text, title=title, border_style=QUIET, padding=(0, 1))


def _warmth(rate_hz: float) -> str:
    return "blue" if rate_hz < 10 else DECODED if rate_hz < 30 else INTENDED


def bar(share: float) -> str:
    """A bar whose height is a share of one line."""
    return _BARS[min(max(round(share * (len(_BARS) - 1)), 0), len(_BARS) - 1)]


def sparkline(values: Sequence[float]) -> str:
    """Bars of the values, the largest full."""
    most = max(values, default=0.0)
    return "".join(bar(value / most) if most > 0 else _BARS[0] for value in values)
