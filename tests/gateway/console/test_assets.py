"""Style sheets and scripts: complete, compressed, cached by their version, and without requests elsewhere."""

import re

import pytest

from gateway.console.assets import Assets
from tests.gateway.console.harness import Console

ASSETS = Assets()


def test_an_address_has_the_version_of_all_files() -> None:
    assert ASSETS.address("console.css") == f"/console/static/{ASSETS.version}/console.css"
    assert len(ASSETS.version) == 12
    with pytest.raises(KeyError):
        ASSETS.address("none.css")


@pytest.mark.parametrize("name", ["bootstrap.min.css", "console.css", "overview.js", "icon.svg"])
async def test_a_file_is_served_without_a_session(console: Console, name: str) -> None:
    async with console.browser() as browser, browser.session.get(ASSETS.address(name)) as answer:
        assert answer.status == 200
        assert await answer.read() == ASSETS._files[name].body
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_long_file_is_compressed_for_clients_that_can_read_it(console: Console) -> None:
    path = ASSETS.address("bootstrap.min.css")
    async with console.browser(auto_decompress=False) as browser:
        async with browser.session.get(path, headers={"Accept-Encoding": "gzip"}) as answer:
            assert answer.headers["Content-Encoding"] == "gzip"
            assert len(await answer.read()) < 60_000
        for accepted in ("identity", "gzip;q=0", "br, gzip; q=0.000", "gzipx", ""):
            async with browser.session.get(path, headers={"Accept-Encoding": accepted}) as answer:
                assert "Content-Encoding" not in answer.headers, accepted
        for accepted in ("br, gzip;q=0.5", "GZIP"):
            async with browser.session.get(path, headers={"Accept-Encoding": accepted}) as answer:
                assert answer.headers["Content-Encoding"] == "gzip", accepted


async def test_a_file_of_another_version_is_not_cached(console: Console) -> None:
    async with console.browser() as browser:
        headers = await browser.headers("/console/static/older/console.css")
        assert headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(
    "name", ["none.js", "..%2f__init__.py", "%2e%2e%2f%2e%2e%2ferrors.py", "theme.js%00"]
)
async def test_nothing_else_is_served(console: Console, name: str) -> None:
    async with console.browser() as browser:
        assert (await browser.get(f"/console/static/{ASSETS.version}/{name}"))[0] in (400, 404)


def test_no_file_names_another_host() -> None:
    for name, asset in ASSETS._files.items():
        found = re.findall(rb"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}", asset.body)
        allowed = {b"https://github.com", b"https://getbootstrap.com", b"http://www.w3.org", b"//www.w3.org"}
        assert set(found) <= allowed, name
        assert b"@import" not in asset.body
