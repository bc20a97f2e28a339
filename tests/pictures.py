"""The service with the bundled models and a demo call -> the pictures of README, in docs/pictures.

And the drawing of the icon -> the pictures of it that phones want for an app.
"""

import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page

from app.borrowers.pages import ICONS
from tests.conftest import CALLS, ROOT, Program
from tests.tabs import chromium

FOLDER = ROOT / "docs" / "pictures"
APP = ROOT / "app"
LARGEST = 120_000  # bytes
CALL = CALLS / "shop-owner-visits.ogg"
_SCORED_WITHIN_S = 600
_COLOURS = 96


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
        for name, width in ICONS.items():
            draw_icon(browser, name, width)
    with tempfile.TemporaryDirectory() as folder, started(Path(folder)) as service, chromium() as browser:
        with opened(browser, service, 390, 1440) as page:
            show_result(page, service)
            keep(page, FOLDER / "borrower.png")
        with opened(browser, service, 1000, 1440) as page:
            show_call(page, service)
            keep(page, FOLDER / "qa-call.png")


@contextmanager
def started(data_dir: Path) -> Iterator[Program]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CALLAUDIT_")}
    environment["CALLAUDIT_DATA_DIR"] = str(data_dir)
    command = [sys.executable, "-m", "app.cli", "serve", "--port", "0"]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, cwd=ROOT, env=environment
    ) as process:
        service = Program(process, data_dir)
        try:
            service.url = service.wait_for(r"http://\S+")
            yield service
        finally:
            service.kill()


@contextmanager
def opened(browser: Browser, service: Program, width: int, height: int) -> Iterator[Page]:
    with browser.new_context(viewport={"width": width, "height": height}) as context:
        context.set_default_timeout(_SCORED_WITHIN_S * 1000)
        context.add_cookies([{"name": "language", "value": "en", "url": service.url}])
        yield context.new_page()


def show_result(page: Page, service: Program) -> None:
    """As a borrower sees it."""
    page.goto(service.url)
    page.set_input_files("#file", CALL)
    page.click("form[data-upload] button[type=submit]")
    page.click(".recordings a.primary")
    page.wait_for_load_state("networkidle")


def show_call(page: Page, service: Program) -> None:
    """As an analyst sees it."""
    known = {"collector_id": "c-17", "agency": "north", "called_at": "2026-03-01T20:15:00+08:00"}
    call_id = service.accepted(CALL, metadata=json.dumps(known))
    assert service.finished(call_id, _SCORED_WITHIN_S)["status"] == "done"
    page.goto(f"{service.url}/qa/calls/{call_id}")
    page.wait_for_load_state("networkidle")


def draw_icon(browser: Browser, name: str, width: int) -> None:
    """With its ground out to the corners, of which each phone cuts off what it likes."""
    drawn = (APP / "static" / "icon.svg").read_text("utf8").replace(' rx="3"', "")
    with browser.new_context(viewport={"width": width, "height": width}) as context:
        page = context.new_page()
        page.set_content(f"<style>body {{ margin: 0 }} svg {{ display: block }}</style>{drawn}")
        keep(page, APP / "borrowers" / "static" / name)


def keep(page: Page, file: Path) -> None:
    """In few colours, which is what makes it small."""
    with Image.open(io.BytesIO(page.screenshot())) as shot:
        few = shot.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
    few.save(file, optimize=True)
    size, told = file.stat().st_size, file.relative_to(ROOT)
    print(f"{told}: {few.width}x{few.height}, {size} bytes")
    if size > LARGEST:
        raise SystemExit(f"{told} has {size} bytes, more than {LARGEST}; take fewer colours")


if __name__ == "__main__":
    main()
