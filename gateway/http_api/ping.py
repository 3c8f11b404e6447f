"""RhoConnect's ping as an aiohttp route: all that the fast path leaves alone."""

import asyncio
import re
from typing import Final

import msgspec
from aiohttp import web

from gateway.errors import NotFound, RhoPushError
from gateway.http_api import responses
from gateway.http_api.aiohttp_handler import trust
from gateway.http_api.bodies import API_HEADER
from gateway.http_api.context import Desk, client_of
from gateway.http_api.requests import driven, json_response, parameters, read_sent
from gateway.http_api.responses import Answer, Headers
from gateway.http_api.wait import WaitedPing, known_of, own_headers
from gateway.queue.producer import Accepted
from protocols.ping import form
from protocols.ping.large import LARGE_BYTES
from protocols.ping.parse import Submission, from_json_and_query, from_params, json_in_steps, params_in_steps

_APPLIED: Final[Headers] = (("Preference-Applied", "return=representation"),)
_DELTA_SECONDS: Final = re.compile(r"[0-9]{1,6}")
"""RFC 7240 §4.3: delta-seconds. A value of more digits is ignored, as each preference that is not understood."""


class PingRoutes:
    """The routes of pings.

    Args:
        desk: what the routes share.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def ping(self, request: web.Request) -> web.Response:
        """Take a ping: 200 once it is durable, or, with `wait`, once every device has its verdict."""
        desk = self._desk
        submission, body = await self._read(request)
        header = request.headers.get(API_HEADER, "")
        standing = await desk.tokens.ask(header, submission.api_token or "", client_of(request))
        desk.intake.admit(submission, standing)
        trust(request)
        key = request.headers.get("Idempotency-Key")
        once = None if key is None else desk.intake.once(key, header, submission, body)
        if submission.wait:
            return await self._wait(request, WaitedPing(desk.services, submission, len(body), once))
        settled: asyncio.Future[Accepted | RhoPushError | None] = asyncio.get_running_loop().create_future()

        def done(outcome: Accepted | RhoPushError | None) -> None:
            if not settled.done():  # the caller may be gone
                settled.set_result(outcome)

        ping_id = desk.services.queue.submit(submission.ping, len(body), done, key=once)
        outcome = await settled or Accepted(ping_id)
        if isinstance(outcome, RhoPushError):
            desk.services.metrics.pings_refused(outcome.label).inc()
            return responses.response(responses.of_error(outcome, ping_id))
        desk.intake.accepted.inc()
        return responses.response(await self._tell(request, submission, outcome))

    async def report(self, request: web.Request) -> web.Response:
        """What became of a ping."""
        desk = self._desk
        await desk.require_operator(request, await parameters(request, desk.services))
        report = await desk.services.receipts.report(request.match_info["ping_id"])
        if report is None:
            raise NotFound(
                "no such ping is known: it never was, or its receipt is over its age", field="ping_id"
            )
        return json_response(report)

    async def _read(self, request: web.Request) -> tuple[Submission, bytes]:
        """Parse the request; the bytes are what an Idempotency-Key is held against."""
        services = self._desk.services
        query = request.rel_url.raw_query_string
        sent = await read_sent(request, services)
        if sent.json is None:
            found = {**(form.parameters(query, "query") if query else {}), **sent.found}
            if len(sent.body) <= LARGE_BYTES:
                submission = from_params(found)
            else:
                submission = await driven(params_in_steps(found), services.turns)
        elif len(sent.json) <= LARGE_BYTES:
            submission = from_json_and_query(sent.json, query)
        else:
            async with services.parsing:
                submission = await driven(json_in_steps(sent.json, query), services.turns)
        if sent.unread:
            submission = msgspec.structs.replace(submission, unread=sent.unread)
        return submission, sent.body + b"?" + query.encode() if query else sent.body

    async def _tell(self, request: web.Request, submission: Submission, outcome: Accepted) -> Answer:
        empty = responses.accepted(outcome.ping_id, responses.warning(submission))
        if not prefers_representation(request):
            return empty
        report = await known_of(self._desk.services, outcome.ping_id)
        about = (report or {"ping_id": outcome.ping_id, "state": "queued"}) | {"repeated": outcome.repeated}
        return responses.of_json(about, headers=own_headers(empty) + _APPLIED)

    async def _wait(self, request: web.Request, ping: WaitedPing) -> web.Response:
        represent = prefers_representation(request)
        wait_s = preferred_wait_s(request)
        return responses.response(await ping.answer(_APPLIED, represent=represent, wait_s=wait_s))


def preferences(request: web.Request) -> dict[str, str]:
    """The preferences of the `Prefer` headers by name; of a repeated one the first counts (RFC 7240 §2)."""
    found: dict[str, str] = {}
    for line in request.headers.getall("Prefer", []):
        for preference in line.split(","):
            name, _, value = preference.partition(";")[0].partition("=")
            found.setdefault(name.strip().lower(), value.strip().strip('"').lower())
    return found


def prefers_representation(request: web.Request) -> bool:
    """Whether the caller wants to see what it made: `Prefer: return=representation` (RFC 7240 §4.2)."""
    return preferences(request).get("return") == "representation"


def preferred_wait_s(request: web.Request) -> float | None:
    """How long the caller wants to wait: `Prefer: wait=SECONDS` (RFC 7240 §4.3); None: no limit of its own."""
    value = preferences(request).get("wait", "")
    return float(value) if _DELTA_SECONDS.fullmatch(value) else None
