"""Reports the pushes that the devices of the demo receive to the console of its gateway."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import aiohttp
import msgspec

from gateway.console.demo import DemoPush
from gateway.http_api.bodies import API_HEADER
from gateway.simulators import SimulatedRecord

_WAITING_MAX: Final = 1_000
"""Most pushes that wait for their report. Further ones are missing in the console; the demo prints each push."""
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
        """Send reports until the task is cancelled. A report that fails is not repeated."""
        while True:
            body = msgspec.json.encode(await self._waiting.get())
            with suppress(aiohttp.ClientError, OSError, TimeoutError):
                async with self._session.post("/console/demo/pushes", data=body, headers=self._headers):
                    pass


def of_record(record: SimulatedRecord, user: str) -> DemoPush:
    """Return a push that a simulated provider accepted for the device of `user`."""
    shown = record.summary
    return DemoPush(
        user,
        record.provider,
        alert=_text(shown.alert),
        title=_text(_title(record.payload)),
        badge=_text(shown.badge),
        sound=_text(shown.sound),
        vibrate=_text(shown.vibrate),
        sync=_text(shown.do_sync),
    )


def _title(payload: Any) -> Any:
    """Return the title in a payload of APNs or FCM; None: there is none."""
    try:
        return payload["aps"]["alert"]["title"]
    except (KeyError, TypeError):
        pass
    try:
        return payload["message"]["notification"]["title"]
    except (KeyError, TypeError):
        return None


def of_message(data: Mapping[str, Any], user: str) -> DemoPush:
    """Return a push that a RhoConnect Push device received."""
    return DemoPush(
        user,
        "rhoconnect_push",
        alert=_text(data.get("alert")),
        title=_text(data.get("title")),
        badge=_text(data.get("badge")),
        sound=_text(data.get("sound")),
        vibrate=_text(data.get("vibrate")),
        sync=_text(data.get("do_sync")),
    )


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))[:_TEXT_MAX]
    return str(value)[:_TEXT_MAX]
