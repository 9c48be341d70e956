"""The page of a comparison is whole, needs nothing from elsewhere, and says what the numbers say."""

import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from cortexwire.training.evaluation import Effort, compare
from cortexwire.training.report import report_html, write_report
from cortexwire.training.report.series import classes_of
from cortexwire.training.report.svg import Plot, spread, ticks
from cortexwire.training.report.words import findings, number
from cortexwire.training.results import Comparison, Curve, Entry, Scores
from tests.training.reaching import reaching, source_of
from tests.training.test_evaluation import SESSION

VOID = {"meta", "br", "line", "circle", "rect", "polyline", "path"}


class _Checked(HTMLParser):
    """Follows the nesting of a page, and what it refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids |= {given["id"] or ""} if "id" in given else set()
        self.links += [given["href"] or ""] if "href" in given else []
        self.outside += [f"{tag} {name}" for name in given if name in ("src", "srcset", "data", "xlink:href")]
        self.outside += [tag] if tag in ("script", "link", "img", "iframe", "object") else []
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    effort = Effort(quick=True, pairs=1, draws=1, robust_bins=200, importance_bins=100)
    found = compare(
        SESSION,
        ["wiener", "kalman"],
        effort=effort,
        source=source_of(reaching()),
        configurations={"kalman": [{"refit": True}], "wiener": [{"history": 2}, {"history": 4}]},
    )
    learning = Curve(x=(1.0, 2.0, 3.0), y=(0.1, None, 0.5))
    entries = [msgspec.structs.replace(e, learning=learning) if e.name == "wiener" else e for e in found.entries]
    return msgspec.structs.replace(found, entries=tuple(entries), notes=("a <note>",))


def test_the_page_is_well_formed_and_loads_nothing(comparison: Comparison) -> None:
    page = report_html(comparison)
    checked = _Checked()
    checked.feed(page)
    assert checked.open == []
    assert checked.outside == []
    assert all(link.startswith("#") and link[1:] in checked.ids for link in checked.links)
    assert "://" not in page
    assert "@import" not in page
    assert "url(" not in page
    assert "prefers-color-scheme: dark" in page
    assert "nan" not in re.sub(r"<[^>]*>", " ", page.split("</style>")[1]).lower().split()


def test_the_page_has_everything_that_a_new_user_needs(comparison: Comparison) -> None:
    page = report_html(comparison)
    for heading in (
        "Ranking",
        "What they decode",
        "By direction",
        "As time goes by",
        "When something is amiss",
        "Which channels matter",
        "How the fits went",
        "What they cost",
        "What the words mean",
        "How this was made",
    ):
        assert f"<h2>{heading}</h2>" in page
    assert page.index("<h2>Ranking") < page.index("<h2>What they decode")
    assert "a &lt;note&gt;" in page
    assert "not scored: ConfigError" in page
    assert "no spikes" in page
    assert "history=4" in page


def test_baselines_stand_in_the_ranking_at_their_place(comparison: Comparison) -> None:
    table = report_html(comparison).split("<tbody>")[1].split("</tbody>")[0]
    names = re.findall(r'<span class="swatch \w+"></span>(\w+)', table)
    assert names == [entry.name for entry in comparison.entries]


def test_it_says_that_the_table_without_spikes_is_not_exceeded(comparison: Comparison) -> None:
    said = " ".join(findings(comparison))
    assert "Stereotypy, which sees no spikes at all, reaches R²" in said
    assert "wiener does not exceed it there" in said
    assert "wiener</b> ranks first" in said
    assert "Not scored: kalman" in said


def test_it_says_when_the_best_on_the_final_part_is_not_the_best_on_new_directions(comparison: Comparison) -> None:
    wiener = next(entry for entry in comparison.entries if entry.name == "wiener")
    assert wiener.scores is not None
    worse = msgspec.structs.replace(wiener.held_out[0], unseen=0.1)
    fuller = msgspec.structs.replace(wiener.scores, r2=0.99)
    habit = msgspec.structs.replace(wiener, name="habit", scores=fuller, held_out=(worse,))
    said = " ".join(findings(msgspec.structs.replace(comparison, entries=(*comparison.entries, habit))))
    assert "habit scores more on the final part (0.99) and less on new directions (0.10)" in said


def test_a_comparison_with_nothing_in_it_still_makes_a_page(comparison: Comparison) -> None:
    failed = Entry(name="wiener", failed="it broke")
    bare = msgspec.structs.replace(comparison, entries=(failed,), paths=(), path_degrees=(), directions=())
    checked = _Checked()
    page = report_html(bare)
    checked.feed(page)
    assert "No decoder could be scored" in page
    assert "it broke" in page


def test_the_file_appears_whole(comparison: Comparison, tmp_path: Path) -> None:
    write_report(comparison, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == report_html(comparison)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_colours_repeat_with_dashes_and_baselines_are_grey() -> None:
    entries = [Entry(name="mean", baseline=True), *(Entry(name=f"d{k}") for k in range(10))]
    classes = classes_of(entries)
    assert classes["mean"] == "b0"
    assert classes["d0"] == "c0"
    assert classes["d8"] == "c0 dashed"
    assert len(set(classes.values())) == len(entries)


def test_labels_keep_apart_and_in_order() -> None:
    placed = spread([10, 11, 11, 50], 13, 0, 60)
    assert placed == sorted(placed)
    assert min(b - a for a, b in pairwise(placed)) >= 13 - 1e-9
    assert spread([70, 80], 13, 0, 60) == [47, 60]


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert ticks(-0.1, 0.62, 4) == [0, 0.2, 0.4, 0.6]
    assert ticks(3, 3) == [3]


def test_a_line_is_broken_where_there_is_no_value() -> None:
    plot = Plot((0, 4), (0, 1))
    plot.line([0, 1, 2, 3, 4], [0.1, 0.2, None, 0.4, 0.5], "c0", "a & b")
    drawn = plot.draw("two pieces")
    assert drawn.count("<polyline") == 2
    assert "a &amp; b" in drawn


def test_scores_are_written_for_people() -> None:
    assert (number(None), number(-0.1), number(-0.001), number(0.987, 1)) == ("–", "−0.10", "0.00", "1.0")
    assert Scores.__struct_fields__[0] == "r2"
