"""What the dashboard says in each state, in a real Chromium."""

import re
import time
from typing import Any

from cortexwire.bench.dashboard.scenes import SCENES
from tests.api.browsing import Opened, dashboard, playwright

CANVASES = ("lane-vx", "lane-vy", "lane-raster", "lane-validity", "lane-latency", "plane", "array", "histogram")


def drawn_colours(opened: Opened, canvas: str) -> int:
    """How many colours a canvas shows: one is an empty one."""
    script = """(name) => {
        const canvas = document.getElementById(name);
        const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', {willReadFrequently: true});
        copy.drawImage(canvas, 0, 0);
        return new Set(new Uint32Array(copy.getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size;
    }"""
    return int(opened.page.evaluate(script, canvas))


def test_a_running_engine_is_shown_whole_from_its_own_server_alone(browser: Any) -> None:
    with dashboard(browser, "running") as opened:
        for tile, word in {"decoder": "Decoding", "data": "Fresh", "output": "ARMED", "budget": "Within"}.items():
            opened.expect_word(tile, word)
        opened.expect("#bundle").to_have_text("reference")
        opened.expect("#no-alarms").to_be_visible()
        opened.until(lambda: all(drawn_colours(opened, canvas) > 1 for canvas in CANVASES))
        assert opened.page.title() == "cortexwire"
        # Violations of the policy come as errors on the console.
        assert opened.faults == []
        assert [url for url in opened.requests if not url.startswith(opened.url)] == []


def test_stale_data_are_said_in_large_letters_and_aloud_and_so_is_their_end(browser: Any) -> None:
    with dashboard(browser, "running") as opened:
        opened.expect_word("data", "Fresh")
        opened.expect("#stale").to_be_hidden()
        opened.stand_in.stage.set(stale=True, state="silent")
        opened.expect("#stale").to_be_visible()
        opened.expect("#stale").to_contain_text("STALE")
        opened.expect("#stale-since").to_contain_text("since ")
        opened.expect("#alert").to_contain_text("Data are stale since ")
        opened.expect_word("data", "STALE")
        opened.expect_word("output", "Unknown")
        opened.stand_in.stage.set(stale=False, state="running")
        opened.expect("#stale").to_be_hidden()
        opened.expect("#say").to_contain_text("over: stale")
        assert opened.faults == []


def test_a_server_that_falls_silent_makes_data_stale_without_another_word_from_it(browser: Any) -> None:
    with dashboard(browser, "running") as opened:
        opened.expect_word("data", "Fresh")
        opened.stand_in.stage.set(silent=True)
        opened.expect("#stale-why").to_contain_text("says nothing")
        opened.expect_word("decoder", "No server")
        opened.stand_in.stage.set(silent=False)
        opened.expect_word("data", "Fresh")


def test_a_lost_connection_comes_back_by_itself(browser: Any) -> None:
    with dashboard(browser, "running") as opened:
        opened.expect_word("data", "Fresh")
        opened.stand_in.cut = True
        opened.expect("#stale-why").to_contain_text("no connection")
        opened.stand_in.cut = False
        opened.expect_word("data", "Fresh")
        opened.expect("#stale").to_be_hidden()


def test_a_page_that_fails_to_draw_says_so_instead_of_looking_fresh(browser: Any) -> None:
    with dashboard(browser, "running") as opened:
        opened.expect_word("data", "Fresh")
        opened.page.evaluate("() => { CanvasRenderingContext2D.prototype.drawImage = () => { throw new Error('no') } }")
        opened.expect("#stale-why").to_contain_text("fails to draw")
        opened.expect_word("data", "STALE")


def test_frames_that_cannot_be_read_are_as_if_they_had_not_come(browser: Any) -> None:
    with dashboard(browser, "running") as opened:
        opened.expect_word("data", "Fresh")
        opened.stand_in.garbled = True
        opened.expect("#stale").to_be_visible()
        opened.stand_in.garbled = False
        opened.expect("#stale").to_be_hidden()


STATES = {
    "disarmed": ("output", "NOT ARMED", "Output is not armed"),
    "neutral": ("output", "NEUTRAL", "Neutral stop is on"),
    "breached": ("budget", "OVER", "decoder p99 is over 1.50 ms; whole p99 is over 2.50 ms"),
    "dead": ("decoder", "Engine gone", "its heartbeat has stopped"),
    "full": ("recorder", "DISK FULL", "disk full"),
    "absent": ("decoder", "No engine", "no engine has run here"),
}


def test_each_state_has_its_word_and_is_announced(browser: Any) -> None:
    with dashboard(browser, "running") as opened:
        for scene, (tile, word, alarm) in STATES.items():
            opened.expect("#no-alarms").to_be_visible()
            opened.stand_in.stage.change(SCENES[scene])
            opened.expect_word(tile, word)
            opened.expect("#alarms").to_contain_text(alarm)
            opened.expect("#alert").to_contain_text(alarm)
            opened.stand_in.stage.change(SCENES["running"])
        assert opened.faults == []


def test_while_no_data_have_come_plots_are_of_the_colour_of_the_panel(browser: Any) -> None:
    """What is seen, for an empty canvas has no pixels to be read; both grounds are white in the light theme."""
    script = """async (png) => {
        const picture = await createImageBitmap(new Blob([new Uint8Array(png)], { type: 'image/png' }));
        const copy = new OffscreenCanvas(picture.width, picture.height).getContext('2d');
        copy.drawImage(picture, 0, 0);
        return [...copy.getImageData(5, 5, 1, 1).data];
    }"""
    with dashboard(browser, "absent", color_scheme="light") as opened:
        opened.expect_word("decoder", "No engine")
        for lane in ("lane-vx", "lane-latency"):
            assert opened.page.evaluate(script, list(opened.page.locator(f"#{lane}").screenshot())) == [255] * 4


def test_nothing_is_said_of_channels_that_are_not_known(browser: Any) -> None:
    with dashboard(browser, "absent") as opened:
        opened.expect_word("decoder", "No engine")
        opened.expect("#stream").to_have_text("")
        script = """async () => {
            const { showStream } = await import('/static/panels.js');
            const element = document.createElement('p');
            showStream(element, { engine: { n_channels: 0, rate_hz: 30000, bin_ms: 20 } });
            return element.textContent;
        }"""
        assert opened.page.evaluate(script) == "30 kHz · 20 ms bins"


def test_a_stream_that_has_ended_is_neither_fresh_nor_commands(browser: Any) -> None:
    with dashboard(browser, "running") as opened:
        opened.expect_word("output", "ARMED")
        opened.stand_in.stage.set(state="ended")
        for tile in ("data", "output"):
            opened.expect_word(tile, "None")
            opened.expect(f"[data-tile={tile}] .detail").to_contain_text("the stream has ended")
            opened.expect(f"[data-tile={tile}]").to_have_attribute("data-level", "off")
        opened.expect("#alarms").to_contain_text("The stream has ended")


def test_notes_stand_at_the_time_at_which_they_were_made(browser: Any) -> None:
    """The page's clock is set to that of UTC, as its context says."""
    with dashboard(browser, "running", timezone_id="UTC") as opened:
        first = opened.page.locator("#journal li", has_text="thresholds measured")
        at = float(first.get_attribute("data-at"))
        noted = 1000 * time.time() - (time.monotonic_ns() - opened.stand_in.stage.notes[0]["t_ns"]) / 1e6
        assert abs(at - noted) < 10_000
        shown = time.strftime("%H:%M:%S", time.gmtime(at / 1000))
        assert first.locator("time").text_content() == shown
        for text in ("one", "two"):
            opened.stand_in.stage.note(text)
        newest = opened.page.locator("#journal li span")
        playwright.expect(newest.nth(0)).to_have_text("two")
        playwright.expect(newest.nth(1)).to_have_text("one")
        playwright.expect(first).to_have_count(1)
        assert opened.faults == []


def test_what_becomes_of_the_engine_leaves_a_line(browser: Any) -> None:
    with dashboard(browser, "running") as opened:
        opened.expect_word("output", "ARMED")
        opened.stand_in.stage.set(writer="dead", stale=True)
        opened.expect("#journal").to_contain_text("engine gone")
        opened.stand_in.stage.set(writer="live", stale=False, pid=4243, armed=False)
        opened.expect("#journal").to_contain_text("process 4243 after 4242")
        opened.expect("#journal").to_contain_text("no longer armed")
        opened.stand_in.stage.set(armed=True, neutral=True)
        opened.expect("#journal").to_contain_text("neutral stop on")


def test_bins_of_one_trouble_do_not_flood_the_page(browser: Any) -> None:
    """A lossy rig spoils a run of bins every 2.4 s, in two ways."""
    with dashboard(browser, "gaps") as opened:
        opened.expect("#journal").to_contain_text(re.compile(r"\d of bins "))
        opened.page.wait_for_timeout(3000)
        assert opened.page.locator("#journal li", has_text="unobserved samples").count() <= 2


def test_a_service_without_protection_is_named(browser: Any) -> None:
    with dashboard(browser, "running") as opened:
        opened.expect("#no-alarms").to_be_visible()
        opened.stand_in.stage.set(insecure=True)
        opened.expect("#alarms").to_contain_text("Insecure")


def test_a_narrow_page_scrolls_only_downwards(browser: Any) -> None:
    script = """() => {
        const page = document.documentElement;
        const words = [...document.querySelectorAll('.tiles .word, #alarms b, button')];
        const wide = words.filter((word) => word.checkVisibility() && word.getBoundingClientRect().right > innerWidth);
        const tiles = [...document.querySelectorAll('.tiles > div')];
        const over = tiles.filter((tile) => tile.scrollWidth > tile.clientWidth);
        return [page.scrollWidth - innerWidth, ...[...wide, ...over].map((element) => element.textContent)];
    }"""
    with dashboard(browser, "running", viewport={"width": 420, "height": 900}) as opened:
        for scene, tile, word in (
            ("running", "output", "ARMED"),
            ("dead", "decoder", "Engine gone"),
            ("full", "recorder", "DISK FULL"),
            ("candidate", "data", "Fresh"),
            ("disarmed", "output", "NOT ARMED"),
            ("breached", "budget", "OVER"),
        ):
            opened.stand_in.stage.change(SCENES[scene])
            opened.expect_word(tile, word)
            assert opened.page.evaluate(script) == [0], scene


def test_gaps_are_named_in_words_with_their_bins(browser: Any) -> None:
    with dashboard(browser, "gaps") as opened:
        opened.expect("#journal").to_contain_text("partial · unobserved samples")
        opened.expect("#journal").to_contain_text("bin")
        opened.expect_word("decoder", "Decoding")


def test_without_known_movement_none_is_drawn_or_named(browser: Any) -> None:
    with dashboard(browser, "unknown") as opened:
        opened.expect_word("data", "Fresh")
        opened.expect("#known-name").to_be_hidden()
        opened.expect("#agreement").to_be_hidden()
        assert opened.faults == []


def test_a_candidate_is_shown_beside_what_decodes(browser: Any) -> None:
    with dashboard(browser, "running") as opened:
        opened.expect("#candidate").to_be_hidden()
        opened.stand_in.stage.change(SCENES["candidate"])
        opened.expect("#candidate-name").to_have_text("kalman-day-12")
        opened.expect("#candidate-phase").to_contain_text("ready")
        opened.expect("#divergence").to_contain_text("1.84 cm/s RMS")
        opened.expect("#activate").to_be_enabled()


def test_a_thousand_channels_are_drawn_as_they_come(browser: Any) -> None:
    with dashboard(browser, "wide") as opened:
        opened.expect_word("data", "Fresh")
        opened.until(lambda: bool(opened.page.evaluate("cortexwire.stats.pictures") > 20))
        opened.expect("#array").to_have_attribute("aria-valuemax", "1023")
        assert opened.faults == []


def test_both_themes_tell_text_from_ground(browser: Any) -> None:
    script = """() => [document.body, document.querySelector('.tiles')].map((element) => {
        const style = getComputedStyle(element);
        return [style.color, style.backgroundColor];
    })"""
    with dashboard(browser, "disarmed") as opened:
        opened.expect_word("output", "NOT ARMED")
        for theme in ("light", "dark"):
            opened.page.emulate_media(color_scheme=theme)
            (text, _), (_, ground) = opened.page.evaluate(script)
            light, dark = sorted((luminance(text), luminance(ground)), reverse=True)
            assert (light + 0.05) / (dark + 0.05) > 7, theme  # WCAG 2, contrast (enhanced)


def luminance(colour: str) -> float:
    """Relative luminance of `rgb(r, g, b)` after WCAG 2."""
    parts = [float(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
