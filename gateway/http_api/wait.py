"""Pings whose caller waits for the verdict of every device (`wait=true`), the same for both ways of answering."""

from html import escape
from typing import Any

import msgspec

from gateway.errors import RhoPushError, StoreDown
from gateway.http_api import responses
from gateway.http_api.dependencies import Dependencies
from gateway.http_api.responses import Headers, HttpResponse
from gateway.queue.producer import IdempotencyKey, PendingAppend
from gateway.queue.receipts import joined_errors
from protocols.ping.model import HTTP
from protocols.ping.parse import Submission


class WaitingRequest:
    """One of them, given to the queue at once.

    Args:
        services: what lies behind the doors.
        submission: allowed to go into the queue.
        size: of its body, in bytes.
        key: its Idempotency-Key.
    """

    def __init__(
        self, services: Dependencies, submission: Submission, size: int, key: IdempotencyKey | None
    ) -> None:
        self._services = services
        self._warning = responses.warning(submission)
        ping = msgspec.structs.replace(submission.ping, reply_to=services.completions.channel)
        self._append = PendingAppend(services.queue, ping, size, key)

    async def answer(
        self, extra: Headers = (), *, represent: bool = False, wait_s: float | None = None
    ) -> HttpResponse:
        """Wait, at most `ping.wait_max_s`, and say what became of it.

        Args:
            extra: headers of an answer that shows the report.
            represent: show the report, whatever became of the ping.
            wait_s: the caller's own limit of the wait; `ping.wait_max_s` holds beside it.
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
            # A repeat is another ping, which may have ended long ago.
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
        # RhoConnect calls this text HTML, and a reason is whatever the provider wrote.
        return HttpResponse(500, responses.RHOCONNECT_HEADERS + headers, escape(errors, quote=False).encode())

    async def _still_open(self, ping_id: str, headers: Headers) -> HttpResponse:
        """504: the ping goes on, only this caller's wait is over."""
        report = await report_if_available(self._services, ping_id)
        about = {"code": "still_open", "message": "not every device has its verdict yet", "field": None}
        found: dict[str, Any] = {"error": about, "report": report}
        return responses.of_json(found, status=504, headers=headers)


async def report_if_available(services: Dependencies, ping_id: str) -> dict[str, Any] | None:
    """The report of a ping that is accepted; None where Redis does not tell it now. The ping is no less accepted
    for that: answered with 503, it would be sent once more."""
    try:
        return await services.receipts.report(ping_id)
    except StoreDown:
        return None


def own_headers(answer: HttpResponse) -> Headers:
    """The headers that are ours: X-Ping-Id and X-Ping-Warning."""
    return tuple(header for header in answer.headers if header[0].startswith("X-Ping-"))
