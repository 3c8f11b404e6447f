"""Rendering of the console's pages: templates with automatic escaping, and the headers of each page."""

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from types import CodeType
from typing import Any, Final
from urllib.parse import quote

from aiohttp import hdrs, web
from jinja2 import BytecodeCache, Environment, PackageLoader, StrictUndefined
from jinja2.bccache import Bucket

from gateway import __version__
from gateway.console.assets import Assets
from gateway.errors import RhoPushError
from gateway.http_api import responses

CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)
"""Neither inline scripts nor inline styles, and no request to another host (Content Security Policy Level 3)."""
PAGE_HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_MS_MAX: Final = 253_402_300_800_000
"""The end of the year 9999."""


class Pages:
    """Renders templates.

    Args:
        assets: the files to which pages refer.
        navigation: returns the links that a caller sees (`gateway.console.navigation`).
    """

    def __init__(self, assets: Assets, navigation: Callable[[Any], Sequence[object]] = lambda _: ()) -> None:
        self._environment = Environment(
            loader=PackageLoader("gateway.console"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            bytecode_cache=_ProcessCache(),
        )
        self._environment.globals |= {
            "asset": assets.address,
            "version": __version__,
            "navigation": navigation,
            "notice": "",
            "error": None,
        }
        self._environment.filters |= {
            "instant": instant,
            "size": size,
            "duration": duration,
            "number": number,
            "segment": segment,
        }
        self._compiling: asyncio.Task[None] | None = None

    async def render(self, name: str, status: int = 200, **values: Any) -> web.Response:
        """Return a page.

        Args:
            name: the template.
            status: of the response.
            values: for the template.
        """
        await self._compiled()
        text = self._environment.get_template(name).render(values)
        return web.Response(
            text=text, status=status, content_type="text/html", charset="utf-8", headers=PAGE_HEADERS
        )

    async def error(self, error: RhoPushError, **values: Any) -> web.Response:
        """Return the page of an error, with the status that the HTTP API gives it."""
        status = error.status
        message = "internal server error" if status == 500 else responses.error_object(error)["message"]
        page = await self.render("error.html", status, text=message, code=status, **values)
        after_s = responses.retry_after_s(error)
        if after_s is not None:
            page.headers[hdrs.RETRY_AFTER] = str(after_s)
        return page

    async def _compiled(self) -> None:
        """Wait until all templates are compiled, which takes a tenth of a second of a thread, once."""
        if self._compiling is None:
            self._compiling = asyncio.ensure_future(asyncio.to_thread(self._compile))
        await asyncio.shield(self._compiling)

    def _compile(self) -> None:
        for name in self._environment.list_templates():
            self._environment.get_template(name)


class _ProcessCache(BytecodeCache):
    """Compiles each template once in a process, which may have several consoles one after the other."""

    _codes: Final[dict[tuple[str, str], CodeType | None]] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Set the code of a template if it was compiled before."""
        bucket.code = self._codes.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Store the code of a template."""
        self._codes[bucket.key, bucket.checksum] = bucket.code


def instant(ms: float | None) -> str:
    """Return epoch ms as a time in UTC; "" for none."""
    if ms is None or not 0 < ms < _MS_MAX:
        return ""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def size(count: float) -> str:
    """Return a number of bytes with its unit."""
    for suffix in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {suffix}"
        count /= 1024
    return f"{count:.1f} GiB"


def duration(seconds: float) -> str:
    """Return a number of seconds in the largest suitable unit."""
    if not math.isfinite(seconds):
        return ""
    for limit, divisor, suffix in ((120, 1, "s"), (7_200, 60, "min"), (172_800, 3_600, "h")):
        if abs(seconds) < limit:
            return f"{seconds / divisor:.0f} {suffix}"
    return f"{seconds / 86_400:.0f} d"


def segment(text: str) -> str:
    """Return a text as one segment of a path."""
    return quote(text.encode("utf-8", "surrogatepass"), safe="")


def number(value: float) -> str:
    """Return a number with a separator of thousands."""
    return f"{value:,.0f}"
