"""Putting the page together."""

import os
from collections.abc import Iterable
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from cortexwire.training.report import figures, words
from cortexwire.training.report.series import classes_of
from cortexwire.training.report.words import number
from cortexwire.training.results import Comparison, Entry

_KEY: Final = (
    ('<path class="fill c0" d="M11 .5l6.5 6.5l-6.5 6.5l-6.5 -6.5z"/>', "new directions (ranked by this)"),
    (
        '<line class="whisker c0" x1="1" x2="21" y1="7" y2="7"/><circle class="ring c0" cx="11" cy="7" r="4.5"/>',
        "final part, 95 % interval",
    ),
    ('<path class="tick c0" d="M11 1v12"/>', "final part, moving bins only"),
)


def report_html(comparison: Comparison) -> str:
    """The report of a comparison as one HTML page, which loads nothing from anywhere."""
    sections = [
        ("ranking", "Ranking", _ranking(comparison)),
        ("examples", "What they decode", _examples(comparison)),
        ("directions", "By direction", _directions(comparison)),
        ("time", "As time goes by", _over_time(comparison)),
        ("robustness", "When something is amiss", _robustness(comparison)),
        ("channels", "Which channels matter", _channels(comparison)),
        ("learning", "How the fits went", _learning(comparison)),
        ("cost", "What they cost", _cost(comparison)),
        ("words", "What the words mean", _glossary()),
        ("made", "How this was made", _made(comparison)),
    ]
    shown = [(key, heading, body) for key, heading, body in sections if body]
    links = "".join(f'<a href="#{key}">{escape(heading)}</a>' for key, heading, _ in shown)
    style = files("cortexwire.training.report").joinpath("page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(words.title(comparison))}</title><style>{style}</style></head><body><main>"
        f'<h1>{escape(words.title(comparison))}</h1><p class="lead">{words.opening(comparison)}</p>'
        f"{_facts(comparison)}<nav>{links}</nav>"
        + "".join(f'<section id="{key}"><h2>{escape(heading)}</h2>{body}</section>' for key, heading, body in shown)
        + "</main></body></html>\n"
    )


def write_report(comparison: Comparison, path: str | os.PathLike[str]) -> None:
    """Write the page; it appears whole or not at all."""
    put_whole(report_html(comparison), path)


def put_whole(text: str, path: str | os.PathLike[str]) -> None:
    """Write a file that appears whole or not at all."""
    target = Path(path)
    partial = target.with_name(target.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(target)


def _facts(c: Comparison) -> str:
    rows = {
        "channels": c.n_channels,
        "bins": f"{c.bin_ms:g} ms",
        "trials": c.n_trials or "none",
        "directions": len(c.directions) or "none",
        "still bins in the final part": f"{100 * (1 - c.moving_share):.0f} %",
        f"counts as moving from ({escape(c.unit)})": f"{c.moving_threshold:.3g}",
    }
    return '<ul class="facts">' + "".join(f"<li><b>{value}</b>{name}</li>" for name, value in rows.items()) + "</ul>"


def _ranking(c: Comparison) -> str:
    says = "".join(f"<li>{sentence}</li>" for sentence in (*words.findings(c), *map(escape, c.notes)))
    key = "".join(f'<li><svg viewBox="0 0 22 14" aria-hidden="true">{mark}</svg>{name}</li>' for mark, name in _KEY)
    by_new = any(entry.generalisation is not None for entry in c.entries)
    ranked = "the score on directions that were never shown" if by_new else "the score on the final part"
    return (
        f'<p class="note">Best first, by {ranked}. Grey rows are baselines that see no spikes: a decoder is worth what '
        f'it adds to them.</p><div class="says"><ul>{says}</ul></div>'
        f'<figure>{figures.ranking(c)}<ul class="key">{key}</ul></figure>{_ranking_table(c)}'
    )


def _ranking_table(c: Comparison) -> str:
    x = "".join(f"<small>{escape(name)}</small>" for name in c.columns)
    heads = [
        "decoder", "new<br>directions", "final part<br><small>95 % interval</small>", f"final part{x}",
        "moving<br>bins", f"moving{x}", f"Pearson r{x}", f"RMSE{x}", "lag<br><small>ms</small>",
        "step<br><small>of a bin</small>", "fit",
    ]  # fmt: skip
    entries = figures.scored(c)
    best = {
        "new": _largest(e.generalisation for e in entries if not e.baseline),
        "final": _largest(e.scores.r2 for e in entries if e.scores and not e.baseline),
        "moving": _largest(e.scores.r2_moving for e in entries if e.scores and not e.baseline),
    }
    rows = []
    for entry in entries:
        assert entry.scores is not None
        s, t = entry.scores, entry.timing
        cells = [
            _cell(number(entry.generalisation), entry.generalisation == best["new"] and not entry.baseline),
            _cell(
                f"{number(s.r2)}<small>{number(s.r2_low, 3)} to {number(s.r2_high, 3)}</small>",
                s.r2 == best["final"] and not entry.baseline,
            ),
            _cell(_stacked(s.r2_of, c.columns)),
            _cell(number(s.r2_moving), s.r2_moving == best["moving"] and not entry.baseline),
            _cell(_stacked(s.r2_moving_of, c.columns)),
            _cell(_stacked(s.pearson_of, c.columns)),
            _cell(_stacked(s.rmse_of, c.columns, _digits(s.rmse_of.values()))),
            _cell(number(s.lag_ms, 0)),
            _cell("–" if t is None else f"{t.median_ms * 1000:.0f} µs<small>{_share(t.normalised)}</small>"),
            _cell("–" if entry.fit_s is None else f"{entry.fit_s:.0f} s"),
        ]
        css = ' class="baseline"' if entry.baseline else ""
        rows.append(f"<tr{css}><td>{_name(c, entry)}</td>{''.join(cells)}</tr>")
    for entry in c.entries:
        if entry.failed:
            reason = f'<td class="words" colspan="{len(heads) - 1}">not scored: {escape(entry.failed)}</td>'
            rows.append(f"<tr><td>{_name(c, entry)}</td>{reason}</tr>")
    return _table(heads, rows)


def _examples(c: Comparison) -> str:
    parts = [
        '<p class="note">The first seconds of the final part, and one trial of each direction there, put together from '
        "the decoded velocity. They were chosen by the clock, not by how well they went. Thick grey is the truth.</p>"
        if c.unit.endswith("/s")
        else '<p class="note">The first seconds of the final part, and one trial of each direction there. They were '
        "chosen by the clock, not by how well they went. Thick grey is the truth.</p>"
    ]
    shown = [e for e in figures.scored(c) if e.example and e.name != "mean"]
    for k, entry in enumerate(shown):
        is_open = " open" if k < 2 else ""
        paths = figures.trajectories(c, entry)
        drawing = f'<div class="example"><div>{figures.traces(c, entry)}</div><div>{paths}</div></div>'
        parts.append(f"<details{is_open}><summary>{_name(c, entry)}</summary>{drawing}</details>")
    return "".join(parts) if shown else ""


def _directions(c: Comparison) -> str:
    entries = [e for e in figures.scored(c) if e.by_direction]
    if not entries:
        return ""
    heads = ["decoder", *(f"{_angle(d.degrees)}<small>{d.trials} trials</small>" for d in entries[0].by_direction)]
    rows = [
        f"<tr><td>{_name(c, e)}</td>" + "".join(_heat(d.r2_moving) for d in e.by_direction) + "</tr>" for e in entries
    ]
    body = (
        '<p class="note">R² over the moving bins of the final part, by the direction of the trial. Every direction was '
        "shown in training here; a decoder should not have favourites.</p>" + _table(heads, rows, "heat")
    )
    pairs = [e for e in entries if e.held_out]
    if pairs:
        heads = ["decoder", *(_pair(h.degrees) for h in pairs[0].held_out)]
        rows = [
            f"<tr><td>{_name(c, e)}</td>"
            + "".join(f"<td>{number(h.unseen)}<small>{number(h.seen)} when shown</small></td>" for h in e.held_out)
            + "</tr>"
            for e in pairs
        ]
        body += (
            '<h3>Two directions left out</h3><p class="note">Fitted again without the targets of two directions, and '
            "scored on the final part's trials in them. Below it, the same trials by the decoder that was shown all "
            "directions: the difference is what it owes to that.</p>" + _table(heads, rows, "narrow")
        )
    return body


def _over_time(c: Comparison) -> str:
    drawing = figures.over_time(c)
    if not drawing:
        return ""
    return (
        '<p class="note">Decoders fitted to the first two fifths of the session only, scored on successive stretches '
        f"of the rest. A line that falls is a decoder that ages, or a brain that changes.</p><figure>{drawing}</figure>"
    )


def _robustness(c: Comparison) -> str:
    panels = [
        f"<figure><h3>{title}</h3>{drawing}</figure>"
        for what, (title, _) in figures.AMISS.items()
        if (drawing := figures.robustness(c, what))
    ]
    if not panels:
        return ""
    return (
        '<p class="note">The same decoders, not fitted again, on the final part with something amiss. Lost channels '
        "and missing bins enter at their mean, as they do live. Noise takes crossings away and puts as many "
        "elsewhere.</p>"
        f'<div class="panels">{"".join(panels)}</div>'
    )


def _channels(c: Comparison) -> str:
    drawing = figures.importance(c)
    if not drawing:
        return ""
    rows = []
    for entry in figures.scored(c):
        if entry.importance:
            order = sorted(range(len(entry.importance)), key=lambda k: -entry.importance[k])[:8]
            named = ", ".join(f"{k} ({entry.importance[k]:+.3f})" for k in order)
            rows.append(f'<tr><td>{_name(c, entry)}</td><td class="words">{named}</td></tr>')
    return (
        '<p class="note">What R² loses when one channel enters at its mean, the others as they are; each row is shaded '
        "by its own largest loss. Channels that say the same hide each other.</p>"
        f"<figure>{drawing}</figure><details><summary>The most important channels by number</summary>"
        f"{_table(['decoder', 'channel (loss of R²)'], rows)}</details>"
    )


def _learning(c: Comparison) -> str:
    drawing = figures.learning(c)
    said = '<p class="note">Score on the validation block inside the training part, epoch by epoch.</p>'
    return f"{said}<figure>{drawing}</figure>" if drawing else ""


def _cost(c: Comparison) -> str:
    entries = [e for e in figures.scored(c) if e.complexity]
    if not entries:
        return ""
    heads = [
        "decoder", "step<small>median, 99 %</small>", "of a bin", "footprint", "connections<small>zero</small>",
        "silent<br>activations", "MACs<small>effective of dense</small>", "ACs<small>effective of dense</small>",
    ]  # fmt: skip
    rows = []
    for e in entries:
        k, t = e.complexity, e.timing
        assert k is not None
        silent = "–" if k.activation_sparsity is None else f"{100 * k.activation_sparsity:.0f} %"
        step = "–" if t is None else f"{t.median_ms * 1000:.0f} µs<small>{t.p99_ms * 1000:.0f} µs</small>"
        rows.append(
            f"<tr><td>{_name(c, e)}</td><td>{step}</td><td>{'–' if t is None else _share(t.normalised)}</td>"
            f"<td>{_bytes(k.footprint_bytes)}</td>"
            f"<td>{k.connections:,}<small>{100 * k.connection_sparsity:.1f} %</small></td>"
            f"<td>{silent}</td><td>{k.effective_macs:,.0f}<small>of {k.dense_macs:,.0f}</small></td>"
            f"<td>{k.effective_acs:,.0f}<small>of {k.dense_acs:,.0f}</small></td></tr>"
        )
    uncounted = sorted({name for e in entries if e.complexity for name in e.complexity.not_counted})
    note = f" Not counted: {escape(', '.join(uncounted))}." if uncounted else ""
    return (
        '<p class="note">Per step, on one thread of this machine; operations after NeuroBench (Yik et al. 2025).'
        f"{note}</p>" + _table(heads, rows)
    )


def _glossary() -> str:
    return "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in words.GLOSSARY.items()) + "</dl>"


def _made(c: Comparison) -> str:
    rows = []
    for e in c.entries:
        if not e.baseline and not e.failed:
            tried = "; ".join(f"{_settings(t.settings)}: {number(t.r2, 3)}" for t in e.tried) or "one only"
            rows.append(
                f'<tr><td>{_name(c, e)}</td><td class="words"><code>{escape(_settings(e.settings) or "defaults")}'
                f'</code></td><td class="words">{escape(tried)}</td></tr>'
            )
    versions = ", ".join(f"{name} {number}" for name, number in c.libraries.items())
    return (
        '<p class="note">Configurations were compared on the last fifth of the training part, then fitted again to all '
        f"of it. Took {words.minutes(c.took_s)}; seed {c.seed}; {escape(versions)}. For research; not a medical "
        "device.</p>"
        + (_table(["decoder", "settings", "tried (R² on the validation block)"], rows, "left") if rows else "")
    )


def _settings(settings: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in settings.items())


def _name(c: Comparison, entry: Entry) -> str:
    tag = '<span class="tag">no spikes</span>' if entry.baseline else ""
    css = classes_of(c.entries)[entry.name].split()[0]
    return f'<span class="swatch {css}"></span>{escape(entry.name)}{tag}'


def _table(heads: Iterable[str], rows: Iterable[str], css: str = "") -> str:
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    body = f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
    return f'<div class="scroll"><table class="{css}">{body}</table></div>'


def _cell(content: str, best: bool = False) -> str:
    return f'<td class="best">{content}</td>' if best else f"<td>{content}</td>"


def _heat(value: float | None) -> str:
    share = 0.0 if value is None else min(max(value, 0.0), 1.0) ** 3
    return f'<td class="cell" style="--share:{share:.2f}">{number(value)}</td>'


def _stacked(values: dict[str, Any], columns: tuple[str, ...], digits: int = 2) -> str:
    return "<br>".join(number(values.get(name), digits) for name in columns)


def _digits(values: Iterable[float]) -> int:
    largest = max(values, default=1.0)
    return 0 if largest >= 100 else 1 if largest >= 10 else 3


def _pair(degrees: tuple[float, ...]) -> str:
    return " and ".join(_angle(angle) for angle in degrees)


def _angle(degrees: float) -> str:
    return f"{degrees:.0f}°".replace("-", "−")


def _share(value: float) -> str:
    return f"{100 * value:.2g} %"


def _bytes(value: int) -> str:
    return f"{value / 1000:,.1f} kB" if value < 1e6 else f"{value / 1e6:,.1f} MB"


def _largest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
