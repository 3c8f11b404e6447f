"""The simulated devices of `rhopush demo`, which reports each push to its gateway.

The simulators run in the process of the demo, and a page of the console may load nothing from another server. The
routes exist only with the setting `console.demo`.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator, Iterable
from typing import Final

import msgspec
from aiohttp import web

from gateway.console.guard import Visit
from gateway.console.page_set import PageSet
from gateway.console.pages import Pages
from gateway.console.streams import Event, LiveStreams
from gateway.delivery.provider_entry import ProviderEntry
from gateway.delivery.provider_registry import installed
from gateway.http_api.context import HandlerContext
from gateway.http_api.requests import json_response, read_body
from gateway.registry.scopes import Scope
from protocols.errors import MalformedBody

PUSHES_MAX: Final = 50
"""Newest pushes that a page shows when it is opened."""
_NAMES: Final = ("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi")


class DemoPush(msgspec.Struct, frozen=True):
    """A push as a simulated device received it. A text is empty if the push does not have it.

    Attributes:
        user: owner of the device.
        provider: the provider.
        alert, title, badge, sound, vibrate, sync: the content of the push.
    """

    user: str
    provider: str
    alert: str = ""
    title: str = ""
    badge: str = ""
    sound: str = ""
    vibrate: str = ""
    sync: str = ""


def demo_owners(entries: Iterable[ProviderEntry]) -> dict[str, str]:
    """Return the owner of the simulated device of each provider that has one, by the provider's name."""
    providers = [entry.name for entry in entries if entry.demo_device]
    numbered = (f"user{number}" for number in itertools.count(len(_NAMES) + 1))
    return dict(zip(providers, itertools.chain(_NAMES, numbered), strict=False))


class DemoPages(PageSet):
    """The routes of the demo.

    Args:
        context: the state shared by the routes.
        pages: renders the page.
        streams: serves live data.
    """

    def __init__(self, context: HandlerContext, pages: Pages, streams: LiveStreams) -> None:
        super().__init__(context, pages)
        self._streams = streams
        self._users: Final = tuple(demo_owners(installed().entries.values()).values())
        self._pushes: deque[tuple[int, DemoPush]] = deque(maxlen=PUSHES_MAX)
        self._count = 0
        self._more = asyncio.Event()
        self._decode: Final = msgspec.json.Decoder(DemoPush).decode

    async def show(self, _: web.Request, visit: Visit) -> web.Response:
        """Return the page."""
        return await self.page("demo.html", visit, users=self._users)

    async def receive(self, request: web.Request) -> web.Response:
        """Take a push from the demo, which has the API token.

        Raises:
            ApiTokenRefused, ScopeMissing: the caller may not.
            MalformedBody: the body is no `DemoPush`.
        """
        await self._context.require_scope(request, {}, Scope.ADMIN)
        try:
            push = self._decode(await read_body(request, self._services))
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise MalformedBody("the body must be a push of a simulated device") from error
        self._count += 1
        self._pushes.append((self._count, push))
        more, self._more = self._more, asyncio.Event()
        more.set()
        return json_response({})

    async def live(self, request: web.Request, visit: Visit) -> web.StreamResponse:
        """Send the newest pushes, and each further one as it arrives."""
        return await self._streams.serve(request, visit, self._events())

    async def _events(self) -> AsyncIterator[Event]:
        seen = 0
        while True:
            more = self._more
            for number, push in [one for one in self._pushes if one[0] > seen]:
                seen = number
                yield "push", msgspec.to_builtins(push)
            await more.wait()
