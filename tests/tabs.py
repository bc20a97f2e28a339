"""Tabs of Debian's Chromium, driven through Playwright, that note whatever their console complains about."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from tests.conftest import ROOT, needs_debian

AXE = ROOT / ".venv" / "axe.min.js"
SIZES = {"desktop": (1200, 900), "phone": (390, 844)}
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--mute-audio", "--no-first-run")
MEDIA = "--autoplay-policy=no-user-gesture-required"


@contextmanager
def chromium() -> Iterator[Browser]:
    needs_debian("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=[*FLAGS, MEDIA])
        yield browser
        browser.close()


class Watched:
    """A tab, and whatever its console complained about."""

    def __init__(self, context: BrowserContext, shots: Path) -> None:
        self.page: Page = context.new_page()
        self.complaints: list[str] = []
        self._shots = shots
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def shot(self, name: str) -> None:
        self.page.screenshot(path=self._shots / f"{name}.png", full_page=True)

    def look(self, name: str) -> None:
        """Keeps a picture, and finds what would keep people out."""
        self.shot(name)
        no_wider_than_the_screen(self.page)
        axe(self.page)


@dataclass
class Tabs:
    """Screenshots lie in the test's folder, or below CALLAUDIT_SHOTS."""

    browser: Browser
    folder: Path
    contexts: list[BrowserContext] = field(default_factory=list)

    def __call__(self, size: str = "desktop", language: str = "zh", url: str = "", **options: Any) -> Watched:
        width, height = SIZES[size]
        context = self.browser.new_context(viewport={"width": width, "height": height}, **options)
        self.contexts.append(context)
        if language == "en":
            context.add_cookies([{"name": "language", "value": "en", "url": url}])
        shots = Path(os.environ.get("CALLAUDIT_SHOTS", self.folder)) / f"{size}-{language}"
        shots.mkdir(parents=True, exist_ok=True)
        return Watched(context, shots)

    def close(self) -> None:
        for context in self.contexts:
            context.close()


def axe(page: Page) -> None:
    """Nothing serious keeps anyone out of the page."""
    if not AXE.exists():
        if os.environ.get("CI") == "true":
            pytest.fail("make test fetches axe-core with npm")
        pytest.skip("make test fetches axe-core, where there is npm")
    # By its own door: the page's policy lets no script in, as it should.
    page.evaluate(AXE.read_text("utf8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']}).then(r => r.violations)")
    told = [f"{v['id']}: {v['nodes'][0]['html'][:200]}" for v in found if v["impact"] in ("serious", "critical")]
    assert told == []


def no_wider_than_the_screen(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def until(page: Page, expression: str) -> None:
    """The page's policy forbids the evaluation within it that Playwright's own waiting takes."""
    deadline = time.monotonic() + 30
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, expression
        page.wait_for_timeout(50)
