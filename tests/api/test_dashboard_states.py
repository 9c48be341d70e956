"""What the dashboard says in each state, in a real Chromium."""

from typing import Any

from cortexwire.bench.dashboard.scenes import SCENES
from tests.api.browsing import Opened, dashboard

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
