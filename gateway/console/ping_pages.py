"""The list of pings, and the page of one ping."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, Protocol
from urllib.parse import quote

from aiohttp import web

from gateway.console.guard import Form, Visit, redirect
from gateway.console.page_set import PageSet
from gateway.console.pages import Pages
from gateway.console.streams import Event, LiveStreams
from gateway.errors import NotFound, StoreDown
from gateway.http_api.context import HandlerContext
from gateway.queue.receipt_tries import Try
from gateway.registry.scopes import is_visible

FOLLOW_S: Final = 0.5
"""Interval at which an open page of a ping reads its receipt, while that changes."""
FOLLOW_SLOW_S: Final = 3.0
"""Interval once the receipt has not changed for `FOLLOW_STEPS` readings: a retry may be an hour away."""
FOLLOW_STEPS: Final = 40
DEVICES_SHOWN: Final = 500
_END_STATES: Final = ("done", "cancelled")
_RECEIVED: Final = ("delivered", "disabled")
"""States of a webhook's message that change only by an operator."""
_ORDER: Final = ("scheduled", "queued", "open", "done", "cancelled")
_STATES: Final = ("queued", "open", "done")
_WITHOUT_EVENTS: Final = ("scheduled", "queued")


class Tries(Protocol):
    """Reads the records of receipts (`gateway.queue.receipt_tries.ReceiptTries`)."""

    async def of(self, ping_id: str) -> Sequence[Try]:
        """Return the records of a ping, oldest first. Raises StoreDown."""
        ...


class PingPages(PageSet):
    """The routes of pings.

    Args:
        context: the state shared by the routes.
        pages: renders them.
        streams: serves live data.
        tries: the records of receipts.
    """

    def __init__(self, context: HandlerContext, pages: Pages, streams: LiveStreams, tries: Tries) -> None:
        super().__init__(context, pages)
        self._streams = streams
        self._tries = tries

    @property
    def _states(self) -> tuple[str, ...]:
        """The states by which a list can be narrowed, as far as this gateway has them."""
        known = getattr(self._services.ping_list, "states", _STATES)
        return tuple(state for state in _ORDER if state in known)

    async def list(self, request: web.Request, visit: Visit) -> web.Response:
        """Return a page of the list."""
        state = request.query.get("state") or None
        cursor = request.query.get("cursor") or None
        found = await self._services.ping_list.page(state, None, cursor, visit.principal.apps)
        for ping in found["pings"]:
            ping["accepted_ms"] = accepted_ms(ping["ping_id"])
        return await self.page(
            "pings.html", visit, found=found, state=state, states=self._states, cursor=cursor
        )

    async def show(self, request: web.Request, visit: Visit) -> web.Response:
        """Return the page of a ping."""
        story = await self._story(request.match_info["ping_id"], visit)
        return await self.page("pings_one.html", visit, **story)

    async def find(self, request: web.Request, _: Visit) -> web.Response:
        """Redirect to the page of the ping that a form names."""
        return redirect(f"/console/pings/{quote(request.query.get('ping_id', '').strip(), safe='')}")

    async def cancel(self, request: web.Request, visit: Visit, _: Form) -> web.Response:
        """Cancel a ping: no further delivery of it begins."""
        ping_id, canceller = request.match_info["ping_id"], self._services.canceller
        await self._report(ping_id, visit)
        if canceller is None:
            raise NotFound("this process does not cancel pings")
        await canceller.cancel(ping_id)
        await self.audit(request, visit, f"/pings/cancel {ping_id}")
        return redirect(f"/console/pings/{ping_id}")

    async def fragment(self, request: web.Request, visit: Visit) -> web.Response:
        """Return the part of the page that changes."""
        story = await self._story(request.match_info["ping_id"], visit)
        return await self.page("ping_story.html", visit, **story)

    async def live(self, request: web.Request, visit: Visit) -> web.StreamResponse:
        """Announce each change of the receipt and of its webhooks, until both are complete."""
        ping_id = request.match_info["ping_id"]
        await self._report(ping_id, visit)
        return await self._streams.serve(request, visit, self._changes(ping_id, visit))

    async def _changes(self, ping_id: str, visit: Visit) -> AsyncIterator[Event]:
        known: Any = None
        unchanged = 0
        while True:
            try:
                report = await self._services.receipts.report(ping_id)
                found = None if report is None else (report, await self._messages(report, visit))
            except StoreDown:
                found = known
            unchanged = unchanged + 1 if found == known else 0
            if found is not None and found != known:
                known = found
                yield "changed", {"state": found[0]["state"]}
            if found is not None and not _is_followed(*found):
                yield "done", {"state": found[0]["state"]}
                return
            await asyncio.sleep(FOLLOW_S if unchanged < FOLLOW_STEPS else FOLLOW_SLOW_S)

    async def _report(self, ping_id: str, visit: Visit) -> dict[str, Any]:
        """Return the report of a ping that the caller may read."""
        receipts, apps = self._services.receipts, visit.principal.apps
        report = await receipts.report(ping_id)
        if report is not None and apps is not None:
            limit = report.get("apps") or await receipts.waiting_apps(ping_id)
            report = report if is_visible(limit, apps) else None
        if report is None:
            raise NotFound("the ping is unknown, or its receipt has expired", field="ping_id")
        return report

    async def _messages(self, report: Mapping[str, Any], visit: Visit) -> Sequence[Mapping[str, Any]]:
        """The messages of webhooks about a ping that has a verdict or was cancelled, for callers without a limit."""
        webhooks = self._services.webhooks
        if webhooks is None or visit.limited or report["state"] in _WITHOUT_EVENTS:
            return ()
        return await webhooks.of_ping(report["ping_id"])

    async def _story(self, ping_id: str, visit: Visit) -> dict[str, Any]:
        report = await self._report(ping_id, visit)
        devices = report["devices"]
        messages = await self._messages(report, visit)
        return {
            "report": report,
            "devices": devices[:DEVICES_SHOWN],
            "devices_left_out": max(0, len(devices) - DEVICES_SHOWN),
            "tries": await self._tries.of(ping_id),
            "accepted_ms": accepted_ms(ping_id),
            "finished": report["state"] in _END_STATES,
            "following": _is_followed(report, messages),
            "messages": messages,
            "cancellable": self._services.canceller is not None,
        }


def _is_followed(report: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the receipt or the messages of webhooks about it may still change by themselves."""
    return report["state"] not in _END_STATES or any(one["state"] not in _RECEIVED for one in messages)


def accepted_ms(ping_id: str) -> int | None:
    """Return the epoch ms of a ping's acceptance, with which its id begins; None: the text is no id."""
    try:
        return int(ping_id[:12], 16)
    except ValueError:
        return None
