"""Reports the pushes that the devices of the demo receive to the console of its gateway."""

import asyncio
from contextlib import suppress
from typing import Any, Final

import aiohttp
import msgspec

from gateway.console.demo import DemoPush
from gateway.http_api.bodies import API_HEADER
from protocols.simulation.record import Summary

_WAITING_MAX: Final = 1_000
"""Most pushes that wait for their report. Beyond it the console misses some: the demo prints every one."""
_TEXT_MAX: Final = 500


class PushReporter:
    """Sends reports in the background.

    Args:
        session: a client of the gateway.
        token: the gateway's API token.
    """

    def __init__(self, session: aiohttp.ClientSession, token: str) -> None:
        self._session = session
        self._headers = {API_HEADER: token, "Content-Type": "application/json"}
        self._waiting: asyncio.Queue[DemoPush] = asyncio.Queue(_WAITING_MAX)

    def add(self, push: DemoPush) -> None:
        """Report a push."""
        with suppress(asyncio.QueueFull):
            self._waiting.put_nowait(push)

    async def run(self) -> None:
        """Report until the task is cancelled. A report that fails is lost."""
        while True:
            body = msgspec.json.encode(await self._waiting.get())
            with suppress(aiohttp.ClientError, OSError, TimeoutError):
                async with self._session.post("/console/demo/pushes", data=body, headers=self._headers):
                    pass


def push_of(content: Summary, provider: str, user: str) -> DemoPush:
    """Return a push that the simulated device of `user` received."""
    return DemoPush(
        user,
        provider,
        alert=_text(content.alert),
        title=_text(content.title),
        badge=_text(content.badge),
        sound=_text(content.sound),
        vibrate=_text(content.vibrate),
        sync=_text(content.do_sync),
    )


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))[:_TEXT_MAX]
    return str(value)[:_TEXT_MAX]
