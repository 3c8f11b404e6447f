"""Pings whose caller waits for the verdict of every device (`wait=true`), shared by the fast path and aiohttp."""

from html import escape
from typing import Any

import msgspec

from gateway.errors import RhoPushError, StoreDown
from gateway.http_api import responses
from gateway.http_api.dependencies import Dependencies
from gateway.queue.append_batch import IdempotencyKey
from gateway.queue.ping_queue import PendingAppend, PingQueue
from gateway.queue.receipts import joined_errors
from protocols.http1.response import Headers, HttpResponse
from protocols.ping.model import HTTP
from protocols.ping.parse import Submission


class WaitingRequest:
    """A waiting ping, which is queued on construction.

    Args:
        services: the services behind the HTTP API.
        queue: the queue that gets the ping.
        submission: the admitted ping.
        size: length of the request body, in bytes.
        key: the Idempotency-Key.
    """

    def __init__(
        self,
        services: Dependencies,
        queue: PingQueue,
        submission: Submission,
        size: int,
        key: IdempotencyKey | None,
    ) -> None:
        self._services = services
        self._warning = responses.warning(submission)
        ping = msgspec.structs.replace(submission.ping, reply_to=services.completions.channel)
        self._append = PendingAppend(queue, ping, size, key)

    async def answer(
        self, extra: Headers = (), *, represent: bool = False, wait_s: float | None = None
    ) -> HttpResponse:
        """Wait at most `ping.wait_max_s`, and return the response with the outcome.

        Args:
            extra: headers of a response that contains the report.
            represent: whether the response contains the report whatever the outcome.
            wait_s: the caller's own limit of the wait, in addition to `ping.wait_max_s`.
        """
        metrics = self._services.metrics
        ping_id = self._append.ping_id
        with self._services.completions.waiting_for(ping_id) as pending:
            outcome = await self._append.outcome()
            if isinstance(outcome, RhoPushError):
                metrics.pings_refused(outcome.label).inc()
                return responses.of_error(outcome, ping_id)
            metrics.pings_accepted(HTTP).inc()
            most_s = self._services.settings.ping.wait_max_s
            if wait_s is not None:
                most_s = min(most_s, wait_s)
            # A repeated request refers to an earlier ping, which may be finished already.
            since = None if outcome.repeated else pending
            report = await self._services.completions.outcome(outcome.ping_id, most_s, since)
        return await self._respond(outcome.ping_id, report, extra, represent=represent)

    async def _respond(
        self, ping_id: str, report: dict[str, Any] | None, extra: Headers, *, represent: bool
    ) -> HttpResponse:
        empty = responses.accepted(ping_id, self._warning)
        headers = own_headers(empty)
        if report is None:
            return await self._still_open(ping_id, headers)
        errors = joined_errors(report)
        if represent:
            return responses.of_json(report, status=500 if errors else 200, headers=headers + extra)
        if not errors:
            return empty
        # RhoConnect sends this text as HTML, and a reason is an arbitrary text of the provider.
        return HttpResponse(500, responses.RHOCONNECT_HEADERS + headers, escape(errors, quote=False).encode())

    async def _still_open(self, ping_id: str, headers: Headers) -> HttpResponse:
        """Return the 504: this caller's wait has ended, the delivery continues."""
        report = await report_if_available(self._services, ping_id)
        about = {"code": "still_open", "message": "not every device has its verdict yet", "field": None}
        found: dict[str, Any] = {"error": about, "report": report}
        return responses.of_json(found, status=504, headers=headers)


async def report_if_available(services: Dependencies, ping_id: str) -> dict[str, Any] | None:
    """Return the report of an accepted ping, or None if Redis does not answer.

    The ping stays accepted: a 503 would make the caller send it again.
    """
    try:
        return await services.receipts.report(ping_id)
    except StoreDown:
        return None


def own_headers(answer: HttpResponse) -> Headers:
    """Return the gateway's own headers: X-Ping-Id and X-Ping-Warning."""
    return tuple(header for header in answer.headers if header[0].startswith("X-Ping-"))
