"""The list of pings, and the page of one ping."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol
from urllib.parse import quote

from aiohttp import web

from gateway.clock import SHARED_CLOCK
from gateway.console.guard import Form, Visit, redirect
from gateway.console.page_set import PageSet
from gateway.console.pages import Pages
from gateway.console.streams import Event, LiveStreams
from gateway.delivery.awaited import AWAIT_S
from gateway.errors import NotFound, StoreDown
from gateway.http_api.context import HandlerContext
from gateway.queue.receipt_tries import Try
from gateway.registry.scopes import is_visible

FOLLOW_S: Final = 0.5
"""Interval at which an open page of a ping reads its receipt, while that changes."""
FOLLOW_SLOW_S: Final = 3.0
"""Interval once the receipt has not changed for `FOLLOW_STEPS` readings, as a retry may be an hour away, and after the
last verdict, when the syncs of devices follow."""
FOLLOW_STEPS: Final = 40
EFFECTS_MS: Final = (AWAIT_S + 5) * 1_000
"""Time after the last verdict in which an open page shows the syncs of devices: a sync counts as an effect for
`AWAIT_S`, and is written some moments later."""
DEVICES_SHOWN: Final = 500
TRIES_SHOWN: Final = 100
"""Most tries on the page of a ping, the newest: a broadcast has one for each chunk, thousands in all."""
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
        """Announce each change of the receipt and of its webhooks, until both are complete and the time for syncs is
        over."""
        ping_id = request.match_info["ping_id"]
        await self._report(ping_id, visit)
        last_ms = last_verdict_ms(ping_id, await self._tries.of(ping_id))
        return await self._streams.serve(request, visit, self._changes(ping_id, visit, last_ms))

    async def _changes(self, ping_id: str, visit: Visit, last_ms: int) -> AsyncIterator[Event]:
        """Yield the events of a stream; `last_ms`: see `last_verdict_ms`."""
        known: Any = None
        unchanged, is_complete = 0, False
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
            if found is not None:
                is_complete = _is_complete(*found)
                if found[0]["state"] not in _END_STATES:
                    last_ms = SHARED_CLOCK.now_ms()
                if is_complete and not _awaits_syncs(found[0], last_ms):
                    yield "done", {"state": found[0]["state"]}
                    return
            is_slow = is_complete or unchanged >= FOLLOW_STEPS
            await asyncio.sleep(FOLLOW_SLOW_S if is_slow else FOLLOW_S)

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
        tries = await self._tries.of(ping_id)
        awaits_syncs = _awaits_syncs(report, last_verdict_ms(ping_id, tries))
        return {
            "report": report,
            "devices": devices[:DEVICES_SHOWN],
            "devices_left_out": max(0, len(devices) - DEVICES_SHOWN),
            "tries": tries[-TRIES_SHOWN:],
            "tries_left_out": max(0, len(tries) - TRIES_SHOWN),
            "accepted_ms": accepted_ms(ping_id),
            "finished": report["state"] in _END_STATES,
            "following": awaits_syncs or not _is_complete(report, messages),
            "messages": messages,
            "cancellable": self._services.canceller is not None,
        }


def _is_complete(report: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether no verdict and no delivery of a webhook about the ping is outstanding."""
    return report["state"] in _END_STATES and all(one["state"] in _RECEIVED for one in messages)


def _awaits_syncs(report: Mapping[str, Any], last_ms: int) -> bool:
    """Whether devices that accepted the ping may still sync because of it; `last_ms`: see `last_verdict_ms`."""
    may_sync = report["counts"].get("accepted", 0) > report.get("synced", 0)
    return may_sync and abs(SHARED_CLOCK.now_ms() - last_ms) < EFFECTS_MS


def last_verdict_ms(ping_id: str, tries: Iterable[Try]) -> int:
    """Return the epoch ms of a ping's last known verdicts, or of its acceptance, whichever is later."""
    return max(accepted_ms(ping_id) or 0, *(one.at_ms or 0 for one in tries), 0)


def accepted_ms(ping_id: str) -> int | None:
    """Return the epoch ms of a ping's acceptance, with which its id begins; None: the text is no id."""
    try:
        return int(ping_id[:12], 16)
    except ValueError:
        return None
