"""Take the screenshots of the documentation: `python tools/screenshots.py [FOLDER]`.

The script starts `rhopush demo`, pings its users for some seconds, and takes pictures with Debian's Chromium.
"""

import argparse
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from playwright.sync_api import Browser, Page, sync_playwright

from gateway.client.sync_client import SyncClient

ROOT: Final = Path(__file__).parents[1]
CHROMIUM: Final = "/usr/bin/chromium"
FOLDER: Final = ROOT / "docs" / "images"
_DEMO: Final = (
    sys.executable,
    "-c",
    "from gateway.cli import main; raise SystemExit(main())",
    "demo",
    "--port",
    "0",
)
_WIDE: Final[Mapping[str, int]] = {"width": 1100, "height": 640}
_PHONE: Final[Mapping[str, int]] = {"width": 390, "height": 760}
_SCHEMES: Final[tuple[Literal["light", "dark"], ...]] = ("light", "dark")
_TIMEOUT_S: Final = 30.0
_PINGED_S: Final = 40.0
"""Time of load before the first picture: the plots have some samples then."""
_PLOTTED_S: Final = 3.0


class Demo(NamedTuple):
    """A running demo."""

    url: str
    token: str


@contextmanager
def running_demo() -> Iterator[Demo]:
    """Run the demo.

    Raises:
        RuntimeError: it did not start.
    """
    process = subprocess.Popen(_DEMO, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT)
    lines: list[str] = []
    try:
        for line in process.stdout or ():
            lines.append(line)
            if line.startswith("curl "):
                break
        text = "".join(lines)
        url, token = re.search(r"console (\S+)/console", text), re.search(r"API token (\w+)", text)
        if url is None or token is None:
            raise RuntimeError(f"the demo did not start: {text}")
        reading = threading.Thread(target=_read_all, args=(process.stdout,), daemon=True)
        reading.start()
        yield Demo(url.group(1), token.group(1))
    finally:
        process.terminate()
        process.wait()


def _read_all(stream: Any) -> None:
    for _ in stream:
        pass


def ping(demo: Demo, ended: threading.Event) -> None:
    """Ping the users of the demo until the event is set, more and less often."""
    count = 0
    client = SyncClient(demo.url, demo.token, _TIMEOUT_S)
    while not ended.wait(0.02 + 0.1 * (count // 150 % 2)):
        client.send({"user_id": ["alice", "bob", "carol"], "message": "Order 4711 has shipped", "badge": 2})
        count += 1


def open_page(browser: Browser, demo: Demo, size: Mapping[str, int]) -> Page:
    """Return a page with a session."""
    viewport: Any = dict(size)
    page = browser.new_page(viewport=viewport, color_scheme="light", reduced_motion="reduce")
    page.goto(f"{demo.url}/console")
    page.get_by_label("API token").fill(demo.token)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/console")
    return page


def take(demo: Demo, folder: Path, plotted_s: float = _PLOTTED_S) -> None:
    """Take all pictures.

    Args:
        demo: the demo.
        folder: the folder for the pictures.
        plotted_s: time for which the overview is open before its picture.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = open_page(browser, demo, _WIDE)
        page.locator("#plot-rates path.line-1").wait_for(state="attached")
        page.wait_for_timeout(plotted_s * 1_000)
        for scheme in _SCHEMES:
            page.emulate_media(color_scheme=scheme)
            page.screenshot(path=folder / f"console-overview-{scheme}.png")
        page.close()
        page = open_page(browser, demo, _PHONE)
        page.goto(f"{demo.url}/console/ping?users=alice, bob, carol")
        page.get_by_label("Message").fill("Order 4711 has shipped")
        page.get_by_role("button", name="Send").click()
        page.get_by_text("done", exact=True).wait_for()
        page.screenshot(path=folder / "console-ping-phone.png")
        page = open_page(browser, demo, _WIDE)
        page.goto(f"{demo.url}/console/demo")
        page.locator(".phone-screen li").first.wait_for()
        page.screenshot(path=folder / "console-demo.png")
        browser.close()


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER)
    parser.add_argument(
        "--seconds", type=float, default=_PINGED_S, help="time of load before the first picture"
    )
    given = parser.parse_args()
    with running_demo() as demo:
        ended = threading.Event()
        load = threading.Thread(target=ping, args=(demo, ended), daemon=True)
        load.start()
        time.sleep(given.seconds)
        take(demo, given.folder, min(_PLOTTED_S, given.seconds))
        ended.set()
        load.join()


if __name__ == "__main__":
    main()
