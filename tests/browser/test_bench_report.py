"""The page of a benchmark report in Chromium, from a file: no error, no request, and the numbers of the results."""

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from gateway.bench.medians import median_of
from gateway.bench.report.document import new_report
from gateway.bench.report.page import page as page_of
from gateway.bench.result import Figure, Line, Plot, Result

pytestmark = pytest.mark.asyncio(loop_scope="module")

LABEL = "aioapns <b>1</b> & </script>"
NUMBERS = """() => [...document.querySelectorAll(".js-plotly-plot")].map((one) => one.data.map((line) =>
    [line.x, line.y, (line.error_x || line.error_y).array ?? null]))"""
TEXTS = '() => [...document.querySelectorAll("svg.main-svg text")].map((one) => one.textContent.trim())'
WIDE = "document.documentElement.scrollWidth"


def result(factor: float) -> Result:
    curve = tuple((float(place), factor * place / 4) for place in (1, 10, 100))
    return Result(
        "latency",
        "Latency at a steady load",
        (Figure("p99", 1.5 * factor, "ms"),),
        plots=(
            Plot("CPU a push", "bars", "µs", (Line("sender", (("gateway", 6.0), (LABEL, 266.0 * factor))),)),
            Plot(
                "answer",
                "lines",
                "ms",
                (Line("at half", curve), Line("at 80 %", curve)),
                x_name="one in so many takes longer",
                log_x=True,
            ),
        ),
    )


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    report = new_report(["latency", "--runs", "3"], peers=False)
    report.results = [median_of([result(factor) for factor in (1.0, 2.0, 4.0)])]
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(page_of(report))
    return path


async def opened(browser: Browser, file: Path, faults: list[str], **options: Any) -> Page:
    """The page, once everything is drawn; `faults` gets errors and requests."""
    context = await browser.new_context(**options)
    context.set_default_timeout(60_000)
    page = await context.new_page()
    page.on("console", lambda message: faults.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: faults.append(f"error: {error}"))
    page.on("request", lambda request: faults.append(f"a request to {request.url[:100]}"))
    await page.goto(file.as_uri())
    await page.locator(".js-plotly-plot").nth(1).locator(".ytick").first.wait_for(state="attached")
    return page


async def test_the_report_works_offline_and_has_the_numbers(browser: Browser, file: Path) -> None:
    faults: list[str] = []
    page = await opened(browser, file, faults, color_scheme="light")
    assert faults == [f"a request to {file.as_uri()[:100]}"]
    bars, lines = await page.evaluate(NUMBERS)
    assert bars[0][0] == [6.0, 532.0]
    assert bars[0][2] == [0.0, 532.0]
    assert [line[:2] for line in lines] == [[[1, 10, 100], [0.5, 5, 50]]] * 2
    assert lines[0][2] == [0.5, 5, 50]
    texts = await page.evaluate(TEXTS)
    for words in (LABEL, "532 µs", "µs", "ms", "one in so many takes longer", "at half", "at 80 %"):
        assert words in texts, json.dumps(texts)
    tick = page.locator("svg.main-svg .xtick text").first
    await expect(tick).to_have_css("fill", "rgb(28, 33, 40)")
    await page.emulate_media(color_scheme="dark")
    await expect(tick).to_have_css("fill", "rgb(223, 227, 232)")
    await page.context.close()
    assert len(faults) == 1


async def test_only_the_plots_are_wider_than_a_phone(browser: Browser, file: Path) -> None:
    faults: list[str] = []
    page = await opened(browser, file, faults, viewport={"width": 360, "height": 640})
    assert await page.evaluate(WIDE) <= 360
    await page.context.close()
    assert len(faults) == 1
