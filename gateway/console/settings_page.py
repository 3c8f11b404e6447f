"""The effective settings as a page: each value, its source, and no secret."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from aiohttp import web

from gateway.console.guard import Visit
from gateway.console.pages import Pages
from gateway.http_api.dependencies import Dependencies
from gateway.settings import Secret, Settings

HIDDEN: Final = "(hidden)"
DEFAULT: Final = "default"
_LEFT_OUT: Final = ("warnings", "origins")
_TEXT_MAX: Final = 400


class SettingsPage:
    """The route of the page.

    Args:
        services: have the current settings.
        pages: renders it.
    """

    def __init__(self, services: Dependencies, pages: Pages) -> None:
        self._services = services
        self._pages = pages

    async def show(self, _: web.Request, visit: Visit) -> web.Response:
        """Return the page."""
        settings = self._services.settings
        rows = list(setting_rows(settings))
        return await self._pages.render("settings.html", visit=visit, rows=rows, warnings=settings.warnings)


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
    return (str(value) if isinstance(value, str | int | float | Path) else HIDDEN)[:_TEXT_MAX]
