"""`docs/http-api.md` and the pages that it links name every route and every error code of the API."""

from pathlib import Path

from gateway.delivery.provider_registry import installed
from gateway.errors import LineTooLong
from gateway.http_api.context import HandlerContext
from gateway.http_api.openapi.errors import errors_of
from gateway.http_api.responses import ERROR_TEXTS
from gateway.http_api.routes import routes
from tests.gateway.http_api.harness import House

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "http-api.md").read_text()


def section(heading: str) -> str:
    """The text of a section of the page."""
    return PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def statuses_of_codes() -> set[tuple[str, str]]:
    """The pairs of code and status in the tables of errors."""
    found = set()
    for line in section("Errors").splitlines():
        cells = [cell.strip() for cell in line.strip("| ").split(" | ")]
        if line.startswith("| `"):
            found |= {(code, "503") for code in cells[0].split("`")[1::2]}
        elif line.startswith("| ") and cells[0].isdecimal():
            found |= {(code, cells[0]) for code in cells[1].split("`")[1::2]}
    return found


async def test_every_error_code_is_in_the_tables_with_its_status(api: House) -> None:
    kinds = {
        kind
        for route in routes(HandlerContext(api.services))
        for kind in (*errors_of(route.path, route.who), *route.errors)
        if not issubclass(kind, (*ERROR_TEXTS, LineTooLong))  # `LineTooLong` is only the answer to a line
    }
    assert {(kind.code, str(kind.status)) for kind in kinds} - statuses_of_codes() == set()


async def test_every_route_is_described(api: House) -> None:
    pages = [DOCS / name for name in ("http-api.md", "tokens.md", "webhooks.md", "operations.md")]
    text = "\n".join(page.read_text() for page in (*pages, DOCS / "reference" / "rhoconnect.md"))
    missing = [
        f"{route.method} {route.path}"
        for route in routes(HandlerContext(api.services))
        if route.path.partition("/{")[0].removeprefix("/rc/v1/admin/") not in text
    ]
    assert missing == []


def test_every_device_type_is_in_the_table_of_providers() -> None:
    for device_type in installed().device_types:
        assert f"`{device_type}`" in section("Users and devices")
