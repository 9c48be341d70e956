"""A recording at a glance: the whole of it, spikes of every channel, kinematics, and one second of voltage.

The picture is one SVG that needs nothing else. What is left out is said in it: where nothing was recorded, how many
channels are not shown, and from what a raster was made.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from cortexwire.errors import ConfigError, SessionError
from cortexwire.training.report.svg import Plot, number, text, ticks

if TYPE_CHECKING:
    from cortexwire.sessions.session import Session

WIDTH: Final = 1000.0
LEFT: Final = 74.0
RIGHT: Final = 118.0
"""The same for every panel, so that their times lie under each other."""
RASTER_S: Final = 10.0
"""How much of the recording the raster and the kinematics show."""
VOLTAGE_S: Final = 1.0
MOST_TRACES: Final = 12
MOST_COLUMNS: Final = 8
LINE_POINTS: Final = 1500
MULTIPLIER: Final = -4.5
FLAT_UV: Final = 1e-6
"""A channel with a lower RMS is flat, and has no threshold."""
LONGEST_LABEL: Final = 16
STYLE: Final = """
svg{background:#fcfcfb;font-family:system-ui,"Segoe UI","DejaVu Sans",sans-serif}
text{fill:#0b0b0b;font-size:13px}text.small{fill:#52514e;font-size:11.5px}text.title{font-size:20px;font-weight:600}
text.head{font-size:14px;font-weight:600}text.warn{fill:#b3400f;font-size:12px}
.frame{fill:none;stroke:#b5b3ab}.grid{stroke:#e9e8e2}.zero{stroke:#c9c7be}.spike{stroke:#0b0b0b;stroke-width:1;fill:none}
.trace{fill:none;stroke:#2a78d6;stroke-width:.8}.line{fill:none;stroke-width:1.7;stroke-linejoin:round;stroke:var(--c)}
.dot{fill:var(--c)}.lead{fill:none;stroke:var(--c);opacity:.5}.part{fill:#5f9ae0}.trial{stroke:#b87a00;stroke-width:1.2}
.trials{fill:#b87a00}.part.other{fill:#bcd4f1}.shown{fill:none;stroke:#0b0b0b;stroke-width:1.5}.gap{fill:url(#gap)}.bar{stroke:#0b0b0b;stroke-width:2}
.c0{--c:#2a78d6}.c1{--c:#d9551f}.c2{--c:#008300}.c3{--c:#b87a00}.c4{--c:#d4568a}.c5{--c:#12906a}.c6{--c:#4a3aa7}.c7{--c:#52514e}
.ink-c0{fill:#2a78d6!important}.ink-c1{fill:#d9551f!important}.ink-c2{fill:#008300!important}.ink-c3{fill:#b87a00!important}
.ink-c4{fill:#d4568a!important}.ink-c5{fill:#12906a!important}.ink-c6{fill:#4a3aa7!important}.ink-c7{fill:#52514e!important}
"""

Floats = NDArray[np.float64]
Tell = Callable[[float], Any]


@dataclass(frozen=True)
class Stretch:
    """A part of the recording in seconds of its own clock; `shown` where it is the session that is drawn."""

    start_s: float
    stop_s: float
    shown: bool = True


def draw(
    session: "Session",
    format: str,
    stretches: Sequence[Stretch] = (),
    start_s: float = 0.0,
    tell: Tell = lambda _: None,
) -> str:
    """Draw a session.

    Args:
        session: The recording.
        format: Name of its format.
        stretches: All parts of the recording where there are gaps between them.
        start_s: Where the raster begins.
        tell: Told the share that is done.

    Returns:
        An SVG document.

    Raises:
        SessionError: The signal cannot be read.
        ConfigError: `start_s` lies behind the end.
    """
    seconds = session.n_samples / session.rate.hz
    if not 0 <= start_s < seconds:
        raise ConfigError(f"--from: expected a time within the {seconds:g} s of {session.name}, got {start_s:g} s")
    window = start_s, min(seconds, start_s + RASTER_S)
    panels = (
        _heading(session, format, seconds),
        _overview(session, stretches, seconds, window),
        _raster(session, window, tell),
        *_kinematics(session, window),
        _voltage(session, window),
    )
    parts, top = [], 14.0
    for height, drawn in panels:
        parts.append(f'<g transform="translate(0 {number(top)})">{drawn}</g>')
        top += height
    hatch = (
        '<defs><pattern id="gap" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<rect width="6" height="6" fill="#f3d9cd"/><rect width="2" height="6" fill="#d9551f" opacity=".6"/></pattern>'
        "</defs>"
    )
    label = escape(f"{session.name}: overview, raster, kinematics and voltage", quote=True)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {number(top)}" width="{WIDTH:g}" '
        f'height="{number(top)}" role="img" aria-label="{label}"><style>{STYLE}</style>{hatch}{"".join(parts)}</svg>\n'
    )


def _heading(session: "Session", format: str, seconds: float) -> tuple[float, str]:
    facts = f"{format} · {session.kind} · {session.n_channels} channels at {session.rate.hz:g} Hz · {seconds:.2f} s"
    if session.kind == "wideband":
        facts += f" · {session.uv_per_bit:g} µV per unit"
    drawn = [text(LEFT, 18, session.name, css="title"), text(LEFT, 40, facts, css="small")]
    for problem in session.problems:
        for line in _wrapped(problem, 130):
            drawn.append(text(LEFT, 46 + 16 * (len(drawn) - 1), line, css="warn"))
    return 46 + 16 * (len(drawn) - 2) + 22, "".join(drawn)


def _overview(
    session: "Session", stretches: Sequence[Stretch], seconds: float, window: tuple[float, float]
) -> tuple[float, str]:
    own = next((stretch for stretch in stretches if stretch.shown), Stretch(0.0, seconds))
    all_of_it = tuple(stretches) or (own,)
    first, last = min(s.start_s for s in all_of_it), max(s.stop_s for s in all_of_it)
    plot = _plot((first, last), (0, 1), 86, bottom=40)
    unit, words = ("min", lambda v: f"{v / 60:g}") if last - first > 600 else ("s", "{:g}".format)
    marks = [v * 60 for v in ticks(first / 60, last / 60, 8)] if unit == "min" else ticks(first, last, 8)
    drawn = [text(LEFT, 8, "the whole recording" + _gaps_in_words(all_of_it), css="head")]
    drawn.append(_rect(plot, first, last, 0.4, 0.9, "gap" if len(all_of_it) > 1 else "frame"))
    drawn += [_rect(plot, s.start_s, s.stop_s, 0.4, 0.9, "part" if s.shown else "part other") for s in all_of_it]
    trials = session.trials
    for start, stop in zip(trials["start"].tolist()[:2000], trials["stop"].tolist()[:2000], strict=True):
        at = own.start_s + start / session.rate.hz, own.start_s + stop / session.rate.hz
        drawn.append(_rect(plot, at[0], at[1] - 0.15 * (at[1] - at[0]), 0.1, 0.32, "trials"))
    drawn.append(_rect(plot, own.start_s + window[0], own.start_s + window[1], 0.02, 0.98, "shown"))
    kept = f" · {len(trials)} trials (ochre)" if len(trials) else ""
    plot.axes(f"time ({unit}); the frame is what is shown below{kept}", x_ticks=marks, y_ticks=(), x_words=words)
    return 104, "".join(drawn) + _inner(plot)


def _gaps_in_words(stretches: Sequence[Stretch]) -> str:
    if len(stretches) < 2:
        return ""
    lost = max(s.stop_s for s in stretches) - min(s.start_s for s in stretches)
    lost -= sum(s.stop_s - s.start_s for s in stretches)
    return f": {len(stretches)} stretches, {lost:.3f} s between them not recorded (hatched)"


def _raster(session: "Session", window: tuple[float, float], tell: Tell) -> tuple[float, str]:
    title, times, channels = _spikes(session, window, tell)
    n = session.n_channels
    height = min(max(3.2 * n, 90.0), 400.0)
    plot = _plot(window, (-n, 0), height + 52)
    tall = max(height / n * 0.8, 1.2)
    column = np.round((LEFT + (times - window[0]) / (window[1] - window[0]) * (WIDTH - LEFT - RIGHT)) * 2) / 2
    row = np.round(plot.top + (channels + 0.5) * height / n - tall / 2, 1)
    # What falls on the same half pixel is one mark: a picture holds no more.
    cells = np.unique(np.stack([column, row], axis=1), axis=0)
    path = "".join(f"M{number(x)} {number(y)}v{number(tall)}" for x, y in cells.tolist())
    rate = len(times) / max(n, 1) / (window[1] - window[0])
    words = f"{title}: {len(times)} on {len(np.unique(channels))} channels" if len(times) else title
    words += f", {rate:.1f} per second and channel" if len(times) else ""
    drawn = [text(LEFT, 8, words, css="head"), f'<path class="spike" d="{path}"/>', _frame(plot)]
    drawn += list(_trial_lines(session, window, plot))
    plot.axes(
        "time of the session (s)", x_ticks=ticks(*window, 10), y_ticks=ticks(-n, 0, 5), y_words=lambda y: f"{abs(y):g}"
    )
    return height + 66, _inner(plot) + "".join(drawn) + _side("channel", plot)


def _spikes(session: "Session", window: tuple[float, float], tell: Tell) -> tuple[str, Floats, NDArray[np.int64]]:
    """What the raster is made of, and time and channel of each of its marks."""
    start, stop = (round(at * session.rate.hz) for at in window)
    if session.kind == "events":
        spikes = session.events(start, stop)
        return "spikes", spikes["sample"] / session.rate.hz, spikes["channel"].astype(np.int64)
    if session.kind == "counts":
        edges, counts = session.counts(start, stop)
        bins, channels = np.nonzero(counts)
        return "recorded bins with counts", edges[bins] / session.rate.hz, channels.astype(np.int64)
    try:
        return _crossings(session, start, stop, tell)
    except (ConfigError, SessionError) as error:
        none = np.zeros(0, np.int64)
        return f"no raster: {error}"[:140], none.astype(np.float64), none


def _crossings(session: "Session", start: int, stop: int, tell: Tell) -> tuple[str, Floats, NDArray[np.int64]]:
    from cortexwire.signal.settings import FrontEndSettings, ThresholdSettings
    from cortexwire.training.features import extract_features

    seconds = (stop - start) / session.rate.hz
    threshold = ThresholdSettings(
        multiplier=MULTIPLIER, calibration_s=seconds / 2, noise_floor_uv=FLAT_UV, noise_ceiling_uv=1e9
    )
    chain = FrontEndSettings(bin_ms=10.0, threshold=threshold)
    found = extract_features(session, chain, start=start, stop=stop, progress=lambda share: tell(share / 2))
    assert found.thresholds_uv is not None
    known = tuple(found.thresholds_uv.tolist())
    table = extract_features(
        session, chain, thresholds_uv=known, start=start, stop=stop, progress=lambda share: tell((1 + share) / 2)
    )
    bins, channels = np.nonzero(table.counts)
    times = table.end[bins] / session.rate.hz - 0.005
    flat = int(np.isnan(found.thresholds_uv).sum())
    without = f", {flat} flat channel{'s' if flat > 1 else ''} left out" if flat else ""
    return f"threshold crossings at {MULTIPLIER:g} RMS in bins of 10 ms{without}", times, channels.astype(np.int64)


def _kinematics(session: "Session", window: tuple[float, float]) -> Iterator[tuple[float, str]]:
    """One panel for each unit of the columns."""
    names, rate = session.column_names, session.rate.hz
    if not names:
        yield 30, text(LEFT, 8, "kinematics: none recorded", css="head")
        return
    units = getattr(session, "column_units", ()) or ("",) * len(names)
    samples = np.linspace(window[0] * rate, window[1] * rate - 1, LINE_POINTS).round().astype(np.int64)
    values = session.columns_at(samples)
    for unit in dict.fromkeys(units):
        mine = [k for k, other in enumerate(units) if other == unit]
        shown = mine[:MOST_COLUMNS]
        known = values[:, shown][np.isfinite(values[:, shown])]
        low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
        plot = _plot(window, (low - 0.04 * (high - low or 1), high + 0.04 * (high - low or 1)), 150)
        for k, column in enumerate(shown):
            plot.line(
                (samples / rate).tolist(), values[:, column].tolist(), f"c{k % 8}", names[column], _label(names[column])
            )
        plot.axes("time (s)", x_ticks=ticks(*window, 10))
        rest = f" ({len(shown)} of {len(mine)} columns)" if len(shown) < len(mine) else ""
        missing = float(np.isnan(values[:, shown]).mean())
        holes = f", undefined for {100 * missing:.0f} % of the time (gaps)" if missing > 0.005 else ""
        title = text(LEFT, 8, f"kinematics{f' in {unit}' if unit else ', unit not stated'}{rest}{holes}", css="head")
        yield (
            168,
            title
            + _frame(plot)
            + _side(unit or "value", plot)
            + "".join(_trial_lines(session, window, plot))
            + _inner(plot),
        )


def _label(name: str) -> str:
    """What there is room for behind the end of a line."""
    return name if len(name) <= LONGEST_LABEL else f"{name[: LONGEST_LABEL - 1]}…"


def _voltage(session: "Session", window: tuple[float, float]) -> tuple[float, str]:
    if session.kind != "wideband":
        return 34, text(LEFT, 8, "voltage: none recorded, this is a recording of " + session.kind, css="head")
    hz = session.rate.hz
    start_s = max(window[0], min((window[0] + window[1]) / 2, window[1] - VOLTAGE_S))
    start, stop = round(start_s * hz), min(session.n_samples, round((start_s + VOLTAGE_S) * hz))
    raw = session.wideband(start, stop)
    chosen = np.unique(np.linspace(0, session.n_channels - 1, min(MOST_TRACES, session.n_channels)).round().astype(int))
    values = raw[:, chosen].astype(np.float64) * session.uv_per_bit
    values -= np.median(values, axis=0)
    reach = float(np.quantile(np.abs(values), 0.9995)) or 1.0
    step = 1.6 * reach
    height = 46.0 * len(chosen)
    seconds = (start / hz, stop / hz)
    plot = _plot(seconds, (-step * (len(chosen) - 0.4), step * 0.6), height + 52)
    drawn = []
    for k, channel in enumerate(chosen.tolist()):
        drawn.append(_envelope(plot, seconds, values[:, k] - k * step))
        electrodes = session.descriptor.electrodes
        name = electrodes[channel].id if electrodes else str(channel)
        drawn.append(text(LEFT - 8, plot.at(0, -k * step)[1] + 4, name[:9], "end", "small"))
    unit = "units" if any("uV per bit" in p or "uv_per_bit" in p for p in session.problems) else "µV"
    bar = float(ticks(0, reach, 2)[-1]) or reach
    top, bottom = plot.at(0, 0)[1], plot.at(0, -bar)[1]
    x = WIDTH - RIGHT + 6
    drawn.append(f'<path class="bar" d="M{number(x)} {number(top)}V{number(bottom)}"/>')
    drawn.append(text(x + 7, (top + bottom) / 2 + 4, f"{bar:g} {unit}", css="small"))
    of = f"{len(chosen)} of {session.n_channels} channels" if len(chosen) < session.n_channels else "every channel"
    title = text(LEFT, 8, f"one second of voltage, {of}, each about its median", css="head")
    plot.axes("time (s)", x_ticks=ticks(*seconds, 10), y_ticks=())
    return height + 66, title + "".join(drawn) + _frame(plot) + _inner(plot)


def _envelope(plot: Plot, seconds: tuple[float, float], values: Floats) -> str:
    """A trace of no more points than there are pixels to draw: the lowest and the highest value of each."""
    pixels = 2 * int(WIDTH - LEFT - RIGHT)
    if len(values) > 2 * pixels:
        edges = np.linspace(0, len(values), pixels + 1).astype(int)[:-1]
        both = np.stack([np.minimum.reduceat(values, edges), np.maximum.reduceat(values, edges)], axis=1)
        values = both.reshape(-1)
    at = np.linspace(*seconds, len(values))
    points = (plot.at(x, y) for x, y in zip(at.tolist(), values.tolist(), strict=True))
    return f'<polyline class="trace" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>'


def _trial_lines(session: "Session", window: tuple[float, float], plot: Plot) -> Iterator[str]:
    starts = session.trials["start"] / session.rate.hz
    for at in starts[(starts >= window[0]) & (starts < window[1])].tolist():
        x = plot.at(at, plot.y[0])[0]
        yield f'<path class="trial" d="M{number(x)} {number(plot.top)}V{number(plot.height - plot.bottom)}"/>'


def _plot(x: tuple[float, float], y: tuple[float, float], height: float, bottom: float = 36) -> Plot:
    return Plot(x, y, width=WIDTH, height=height, left=LEFT, right=RIGHT, top=16, bottom=bottom)


def _inner(plot: Plot) -> str:
    """What a plot has drawn, without the document around it."""
    whole = plot.draw("")
    return whole[whole.index(">") + 1 : -len("</svg>")]


def _frame(plot: Plot) -> str:
    return _rect(plot, plot.x[0], plot.x[1], plot.y[0], plot.y[1], "frame")


def _rect(plot: Plot, x0: float, x1: float, y0: float, y1: float, css: str) -> str:
    (left, a), (right, b) = plot.at(x0, y0), plot.at(x1, y1)
    top, high, wide = min(a, b), abs(a - b), max(right - left, 0.6)
    return f'<rect class="{css}" x="{number(left)}" y="{number(top)}" width="{number(wide)}" height="{number(high)}"/>'


def _side(words: str, plot: Plot) -> str:
    middle = (plot.top + plot.height - plot.bottom) / 2
    return f'<g transform="translate(20 {number(middle)}) rotate(-90)">{text(0, 0, words, "middle", "small")}</g>'


def _wrapped(words: str, width: int) -> list[str]:
    from textwrap import wrap

    return wrap(words, width)
