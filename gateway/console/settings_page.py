"""The effective settings as a page: each value, its source, and no secret."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from aiohttp import web

from gateway.console.guard import Visit
from gateway.console.page_set import PageSet
from gateway.settings import Secret, Settings

HIDDEN: Final = "(hidden)"
DEFAULT: Final = "default"
_LEFT_OUT: Final = ("warnings", "origins", "documents")  # the last: all addresses of `redis`
_TEXT_MAX: Final = 400
_CREDENTIALS: Final = re.compile(r"(?<=://)[^/?#\s]+(?=@)|(?<=\?)\S+(?=$)")
"""User and password, and the query, of a URL: both may contain a secret."""


class SettingsPage(PageSet):
    """The route of the page."""

    async def show(self, request: web.Request, visit: Visit) -> web.Response:
        """Return the page; with `all` in the query also the settings that nobody set."""
        settings, every = self._services.settings, "all" in request.query
        rows = [row for row in setting_rows(settings) if every or row["origin"] != DEFAULT]
        return await self.page("settings.html", visit, rows=rows, every=every, warnings=settings.warnings)


def setting_rows(settings: Settings) -> Iterator[dict[str, str]]:
    """Yield `name`, `value` and `origin` of each setting. A setting that nobody set has the origin `default`."""
    for path, value in _walk(settings, ()):
        if path[0] in _LEFT_OUT:
            continue
        name = ".".join(path)
        yield {"name": name, "value": shown(value), "origin": _origin(settings.origins, path)}


def _origin(origins: Mapping[str, str], path: Sequence[str]) -> str:
    """Return the source of a setting, or of the section that contains it."""
    for length in range(len(path), 0, -1):
        found = origins.get(".".join(path[:length]))
        if found is not None:
            return found
    return DEFAULT


def _walk(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from _walk(getattr(value, name), (*path, name))
    elif isinstance(value, Mapping) and value:
        for name, part in value.items():
            yield from _walk(part, (*path, str(name)))
    else:
        yield path, value


def shown(value: Any) -> str:
    """Return a value as text, without secrets."""
    if isinstance(value, Secret):
        return HIDDEN
    if value is None or (isinstance(value, tuple | Mapping) and not value):
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple | list | frozenset):
        return ", ".join(map(shown, value))[:_TEXT_MAX]
    if isinstance(value, str):
        return _CREDENTIALS.sub(HIDDEN, value)[:_TEXT_MAX]
    return (str(value) if isinstance(value, int | float | Path) else HIDDEN)[:_TEXT_MAX]
