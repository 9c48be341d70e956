"""The dashboard in a real Chromium, against a stand-in of the service."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import pytest

from cortexwire.bench.dashboard.scenes import SCENES
from cortexwire.bench.dashboard.stand_in import StandIn, served
from tests.leaks import MARK

playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install -e .[e2e]")
PATIENCE_MS = 20_000


class Opened(NamedTuple):
    """A page, the stand-in that it looks at, and what went wrong in it: to be empty at the end."""

    page: Any
    stand_in: StandIn
    url: str
    faults: list[str]
    requests: list[str]

    def word(self, tile: str) -> Any:
        """The large word of a tile."""
        return self.page.locator(f"[data-tile={tile}] .word")

    def expect_word(self, tile: str, word: str) -> None:
        """Wait for the large word of a tile."""
        playwright.expect(self.word(tile)).to_have_text(word)

    def expect(self, selector: str) -> Any:
        """What playwright is to expect of an element."""
        return playwright.expect(self.page.locator(selector))

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so that the page does not show."""
        for _ in range(PATIENCE_MS // 20):
            if condition():
                return
            self.page.wait_for_timeout(20)
        raise AssertionError("waited in vain")


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser for many tests; its processes come and go as they like, so they do not carry the mark of this run."""
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("no chromium on the path")
    env = {name: value for name, value in os.environ.items() if name != MARK}
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox"], env=env)
        yield browser
        browser.close()


@contextmanager
def dashboard(browser: Any, scene: str, token: str | None = None, **context: Any) -> Iterator[Opened]:
    """The page, open on a scene; at the end nothing may have been said on the console that a person should read."""
    with ExitStack() as stack:
        stand_in = StandIn(SCENES[scene], token)
        url = stack.enter_context(served(stand_in.app))
        window = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **context})
        stack.callback(window.close)
        page = window.new_page()
        page.set_default_timeout(PATIENCE_MS)
        playwright.expect.set_options(timeout=PATIENCE_MS)
        opened = Opened(page, stand_in, url, [], [])
        page.on("console", lambda said: opened.faults.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: opened.faults.append(str(error)))
        page.on("request", lambda request: opened.requests.append(request.url))
        page.goto(url)
        yield opened
