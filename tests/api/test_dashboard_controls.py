"""What the dashboard's buttons and keys ask of the service, in a real Chromium, by keyboard alone."""

import re
from typing import Any

from cortexwire.bench.dashboard.scenes import SCENES
from tests.api.browsing import dashboard


def test_the_neutral_stop_asks_nobody_and_is_reachable_from_a_field_of_a_dialog(browser: Any) -> None:
    with dashboard(browser, "running") as opened:
        opened.expect_word("output", "ARMED")
        opened.page.keyboard.press("n")
        opened.expect_word("output", "NEUTRAL")
        assert opened.stand_in.asked == [("/v1/neutral", {"on": True})]
        opened.page.keyboard.press("g")
        opened.expect("#confirm input[name=gain]").to_be_focused()
        opened.page.keyboard.press("F8")
        opened.until(lambda: len(opened.stand_in.asked) == 2)
        opened.page.locator("#confirm .stop").click()
        opened.until(lambda: len(opened.stand_in.asked) == 3)
        assert {path for path, _ in opened.stand_in.asked} == {"/v1/neutral"}
        assert opened.faults == []


def test_arming_is_confirmed_and_escape_takes_it_back(browser: Any) -> None:
    with dashboard(browser, "disarmed") as opened:
        opened.expect_word("output", "NOT ARMED")
        opened.page.keyboard.press("a")
        opened.expect("#confirm-cancel").to_be_focused()  # one key more than Enter to what moves things
        opened.page.keyboard.press("Escape")
        opened.expect("#confirm").to_be_hidden()
        opened.page.keyboard.press("a")
        opened.page.keyboard.press("Enter")
        opened.expect("#confirm").to_be_hidden()
        assert opened.stand_in.asked == []
        opened.page.keyboard.press("a")
        opened.page.keyboard.press("Tab")
        opened.page.keyboard.press("Enter")
        opened.expect_word("output", "ARMED")
        assert opened.stand_in.asked == [("/v1/arm", {})]
        opened.expect("#toasts").to_contain_text("Arm: done at bin")


ASKED: dict[str, tuple[dict[str, str], str, dict[str, Any]]] = {
    "g": ({"gain": "1.5"}, "/v1/gain", {"gain": 1.5}),
    "c": ({"seconds": "5"}, "/v1/thresholds/recalibrate", {"seconds": 5}),
    "k": ({"channels": "e003, 7 20-22"}, "/v1/channels/mask", {"channels": [2, 7, 20, 21, 22], "masked": True}),
    "o": ({"name": "day-12"}, "/v1/overlay", {"name": "day-12"}),
    "x": ({"at_bin": "190000"}, "/v1/bundle/activate", {"at_bin": 190000, "crossfade_bins": 0}),
    "m": ({"value": "2.5"}, "/v1/marks", {"code": 256, "value": 2.5}),
    "v": ({}, "/v1/recording/stop", {}),
    "a": ({}, "/v1/disarm", {}),
}


def test_each_key_asks_for_confirmation_and_then_for_the_right_thing(browser: Any) -> None:
    with dashboard(browser, "candidate") as opened:
        opened.expect_word("data", "Fresh")
        for key, (fields, path, body) in ASKED.items():
            opened.page.keyboard.press(key)
            opened.expect("#confirm").to_be_visible()
            for name, value in fields.items():
                field = opened.page.locator(f"#confirm [name={name}]")
                if key == "o":
                    field.select_option(value)
                else:
                    field.fill(value)
            assert opened.stand_in.asked == []
            opened.page.locator("#confirm-go").press("Enter")
            opened.expect("#confirm").to_be_hidden()
            assert opened.stand_in.asked.pop() == (path, body)
        assert opened.faults == []


def test_a_bundle_is_chosen_from_those_on_offer_and_its_staging_followed(browser: Any) -> None:
    with dashboard(browser, "running") as opened:
        opened.expect_word("data", "Fresh")
        opened.page.keyboard.press("b")
        opened.page.locator("#confirm [name=name]").select_option("kalman-day-12")
        opened.page.locator("#confirm-go").press("Enter")
        opened.expect("#toasts").to_contain_text("Stage: done")
        assert opened.stand_in.asked == [("/v1/bundle/stage", {"name": "kalman-day-12"})]


def test_a_refusal_is_shown_in_the_words_of_the_server_and_the_dialog_stays(browser: Any) -> None:
    with dashboard(browser, "disarmed") as opened:
        opened.stand_in.refuse["/v1/arm"] = (409, "refused by the engine", "arming is blocked")
        opened.expect_word("output", "NOT ARMED")
        opened.page.keyboard.press("a")
        opened.page.locator("#confirm-go").press("Enter")
        opened.expect("#confirm-problem").to_have_text("refused by the engine: arming is blocked")
        opened.expect("#confirm").to_be_visible()
        opened.expect_word("output", "NOT ARMED")


def test_an_array_that_has_to_be_confirmed_before_arming_can_be_while_nothing_is_armed(browser: Any) -> None:
    with dashboard(browser, "blocked") as opened:
        opened.expect("#alarms").to_contain_text("arming is blocked until the array is confirmed")
        opened.page.locator("#confirm-array").click()
        opened.page.locator("#confirm-go").press("Enter")
        opened.expect("#confirm").to_be_hidden()
        assert opened.stand_in.asked == [("/v1/identity/confirm", {})]
        opened.stand_in.stage.change(SCENES["disarmed"])
        opened.expect("#confirm-array").to_be_hidden()
        assert opened.faults == []


def test_arming_that_waits_for_the_array_leads_to_its_confirmation(browser: Any) -> None:
    with dashboard(browser, "disarmed") as opened:
        opened.stand_in.refuse["/v1/arm"] = (409, "refused by the engine", "not armed: identity is not confirmed")
        opened.expect_word("output", "NOT ARMED")
        opened.page.keyboard.press("a")
        opened.page.locator("#confirm-go").press("Enter")
        opened.expect("#confirm-problem").to_contain_text("not confirmed")
        opened.expect("#confirm-array-first").to_be_hidden()  # refused for another reason
        opened.page.keyboard.press("Escape")
        opened.stand_in.stage.set(blocked=True)
        opened.expect("#confirm-array").to_be_visible()
        opened.page.keyboard.press("a")
        opened.page.locator("#confirm-go").press("Enter")
        opened.expect("#confirm-array-first").to_be_visible()
        opened.page.locator("#confirm-array-first").press("Enter")
        opened.expect("#confirm-title").to_have_text("Is it the right array?")
        opened.expect("#confirm-array-first").to_be_hidden()
        opened.page.locator("#confirm-go").press("Enter")
        opened.expect("#confirm").to_be_hidden()
        assert opened.stand_in.asked[-1] == ("/v1/identity/confirm", {})


def test_channels_that_are_none_are_refused_before_anybody_is_asked(browser: Any) -> None:
    with dashboard(browser, "running") as opened:
        opened.expect_word("data", "Fresh")
        opened.page.keyboard.press("k")
        for words, said in (("e999", "no channel number"), ("96", "beyond the last, 95")):
            opened.page.locator("#confirm [name=channels]").fill(words)
            opened.page.locator("#confirm-go").press("Enter")
            opened.expect("#confirm-problem").to_contain_text(said)
        assert opened.stand_in.asked == []


def test_electrodes_are_walked_with_arrows_and_masked_with_enter(browser: Any) -> None:
    with dashboard(browser, "running") as opened:
        opened.expect_word("data", "Fresh")
        opened.page.keyboard.press("e")
        opened.expect("#array").to_be_focused()
        opened.page.keyboard.press("ArrowRight")
        opened.expect("#electrode").to_have_text("e002 · bank 1 · channel 1")
        opened.expect("#electrode-values").to_contain_text("µV")
        opened.expect("#array").to_have_attribute("aria-valuetext", re.compile("^e002, bank 1, channel 1: .* Hz"))
        opened.page.keyboard.press("PageDown")
        opened.expect("#electrode").to_have_text("e033 · bank 2 · channel 32")
        opened.page.keyboard.press("End")
        opened.expect("#electrode").to_have_text("e096 · bank 3 · channel 95")
        opened.page.keyboard.press("Enter")
        opened.expect("#confirm [name=channels]").to_have_value("95")


def test_everything_can_be_reached_with_tab_and_is_seen_to_have_the_focus(browser: Any) -> None:
    focused = """() => {
        const element = document.activeElement;
        const shown = element.matches('input[type=radio]') ? element.nextElementSibling : element;
        const style = getComputedStyle(shown);
        const name = element.id || element.name || element.textContent.trim();
        return [name, style.outlineStyle, parseFloat(style.outlineWidth)];
    }"""
    with dashboard(browser, "candidate") as opened:
        opened.expect_word("data", "Fresh")
        buttons = opened.page.locator("button:visible:enabled").count()
        seen = []
        for _ in range(buttons + 3):
            opened.page.keyboard.press("Tab")
            name, style, width = opened.page.evaluate(focused)
            assert style != "none", f"{name} does not show the focus"
            assert width >= 2, f"{name} hardly shows the focus"
            seen.append(name)
        assert {"arming", "array", "journal", "figure", "activate", "recording"} <= set(seen)
        assert any("Neutral stop" in name for name in seen)


def test_the_keys_are_listed_and_the_list_closes(browser: Any) -> None:
    with dashboard(browser, "running") as opened:
        opened.expect_word("data", "Fresh")
        opened.page.keyboard.press("?")
        opened.expect("#help").to_be_visible()
        opened.expect("#keys").to_contain_text("Neutral stop, at once")
        opened.page.keyboard.press("Escape")
        opened.expect("#help").to_be_hidden()


def test_the_theme_is_kept(browser: Any) -> None:
    with dashboard(browser, "running", color_scheme="light") as opened:
        opened.expect_word("data", "Fresh")
        opened.page.keyboard.press("t")
        opened.page.keyboard.press("t")
        opened.expect("html").to_have_attribute("data-theme", "dark")
        opened.page.reload()
        opened.expect("html").to_have_attribute("data-theme", "dark")


def test_a_token_is_asked_for_where_the_server_wants_one(browser: Any) -> None:
    with dashboard(browser, "running", token="sesame") as opened:
        opened.expect("#token").to_be_visible()
        opened.expect("#token-why").to_contain_text("expected a token")
        opened.page.keyboard.type("wrong")
        with opened.page.expect_response(lambda response: response.status == 401):
            opened.page.keyboard.press("Enter")
        opened.expect("#token").to_be_visible()
        opened.page.locator("#token input").fill("sesame")
        opened.page.keyboard.press("Enter")
        opened.expect_word("data", "Fresh")
        opened.page.keyboard.press("n")
        opened.expect_word("output", "NEUTRAL")
        opened.page.reload()
        opened.expect_word("data", "Fresh")
