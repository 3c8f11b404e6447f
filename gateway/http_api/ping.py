"""RhoConnect's ping as an aiohttp route: serves every ping that the fast path does not."""

import re
from typing import Any, Final

import msgspec
from aiohttp import web

from gateway.errors import NotFound, RhoPushError
from gateway.http_api import responses
from gateway.http_api.aiohttp_handler import trust
from gateway.http_api.bodies import API_HEADER
from gateway.http_api.context import HandlerContext, client_of
from gateway.http_api.dependencies import Dependencies
from gateway.http_api.requests import (
    json_response,
    parameters,
    read_request_body,
    run_in_steps,
    text_of,
)
from gateway.http_api.wait import WaitingRequest, own_headers, report_if_available
from gateway.queue.append_batch import Accepted
from gateway.queue.ping_queue import PendingAppend, PingQueue
from gateway.registry.scopes import Principal, Scope, is_visible
from protocols.errors import InvalidField
from protocols.http1.response import Headers, HttpResponse
from protocols.ping import form
from protocols.ping.large import LARGE_BYTES
from protocols.ping.parse import (
    ExplainOptions,
    Submission,
    explain_options,
    from_json_and_query,
    from_params,
    json_in_steps,
    params_in_steps,
)

IDEMPOTENCY_KEY: Final = "Idempotency-Key"
TRACEPARENT: Final = "traceparent"
_APPLIED: Final[Headers] = (("Preference-Applied", "return=representation"),)
_DELTA_SECONDS: Final = re.compile(r"[0-9]{1,6}")
"""RFC 7240 §4.3: delta-seconds. A value with more digits is ignored, like every invalid preference."""


class PingRoutes:
    """The routes of pings.

    Args:
        context: the state shared by the routes.
    """

    def __init__(self, context: HandlerContext) -> None:
        self._context = context

    async def ping(self, request: web.Request) -> web.Response:
        """Accept a ping: respond with 200 once it is durable, or, with `wait`, once every device has its verdict."""
        context = self._context
        submission, body = await self._read(request)
        header = request.headers.get(API_HEADER, "")
        grant = await context.tokens.resolve(header, submission.api_token or "", client_of(request))
        submission = context.admission.admit(submission, grant)
        trust(request)
        services = context.services
        queue: PingQueue = services.queue
        if submission.deliver_at_ms is not None:
            queue = services.queue.at(submission.deliver_at_ms)
        if submission.explain is not None:
            return await self._explain(request, submission, submission.explain)
        key = request.headers.get(IDEMPOTENCY_KEY)
        idempotency_key = (
            None if key is None else context.admission.idempotency_key(key, header, submission, body)
        )
        queue = services.queue_of(queue, traceparent_of(request))
        if submission.wait:
            return await self._wait(
                request, WaitingRequest(services, queue, submission, len(body), idempotency_key)
            )
        pending = PendingAppend(queue, submission.ping, len(body), idempotency_key)
        outcome = await pending.outcome()
        if isinstance(outcome, RhoPushError):
            context.services.metrics.pings_refused(outcome.label).inc()
            return responses.response(responses.of_error(outcome, pending.ping_id))
        context.admission.accepted.inc()
        return responses.response(await self._respond(request, submission, outcome))

    async def _explain(
        self, request: web.Request, submission: Submission, options: ExplainOptions
    ) -> web.Response:
        """Return the explanation of a ping, without sending or storing it."""
        if submission.wait:
            raise InvalidField("with explain, wait must not be true: there is no verdict", field="wait")
        if IDEMPOTENCY_KEY in request.headers:
            raise InvalidField(
                f"with explain, the header {IDEMPOTENCY_KEY} is not allowed: nothing is stored",
                field=IDEMPOTENCY_KEY,
            )
        explanations = self._context.services.explanations
        if explanations is None:
            raise NotFound("this process does not explain pings", field="explain")
        found = await explanations.explain(submission.ping, validates=options.validate)
        warned = responses.warning(submission)
        headers = (("X-Ping-Warning", warned),) if warned else ()
        return responses.response(responses.of_json(found, headers=headers))

    async def report(self, request: web.Request) -> web.Response:
        """Return the delivery report of a ping."""
        context = self._context
        found = await parameters(request, context.services)
        caller = await context.require_scope(request, found, Scope.READ)
        ping_id = request.match_info["ping_id"]
        report = await context.services.receipts.report(ping_id)
        if report is None or not await is_visible_to(context.services, report, caller):
            raise NotFound("the ping is unknown, or its receipt has expired", field="ping_id")
        return json_response(report)

    async def list(self, request: web.Request) -> web.Response:
        """Return a page of the pings, the newest first."""
        context = self._context
        sent = await parameters(request, context.services)
        caller = await context.require_scope(request, sent, Scope.READ)
        state, cursor = (text_of(sent, name) if name in sent else None for name in ("state", "cursor"))
        page = await context.services.ping_list.page(state, sent.get("limit"), cursor, caller.apps)
        return json_response(page)

    async def _read(self, request: web.Request) -> tuple[Submission, bytes]:
        """Parse the request. The bytes are the body that an Idempotency-Key covers."""
        services = self._context.services
        rules = services.addition_rules
        query = request.rel_url.raw_query_string
        sent = await read_request_body(request, services)
        if sent.json is None:
            values = {**(form.parameters(query, "query") if query else {}), **sent.values}
            if len(sent.body) <= LARGE_BYTES:
                submission = from_params(values, rules)
            else:
                submission = await run_in_steps(params_in_steps(values, rules), services.scheduler)
        elif len(sent.json) <= LARGE_BYTES:
            submission = from_json_and_query(sent.json, query, rules)
        else:
            async with services.parsing_lock:
                submission = await run_in_steps(json_in_steps(sent.json, query, rules), services.scheduler)
        if (
            query
            and submission.explain is None
            and explain_options(form.parameters(query, "query")) is not None
        ):
            raise InvalidField("explain is true in the query and not in the body", field="explain")
        if sent.unread:
            submission = msgspec.structs.replace(submission, unread=sent.unread)
        return submission, sent.body + b"?" + query.encode() if query else sent.body

    async def _respond(self, request: web.Request, submission: Submission, outcome: Accepted) -> HttpResponse:
        empty = responses.accepted(outcome.ping_id, responses.warning(submission))
        if not prefers_representation(request):
            return empty
        report = await report_if_available(self._context.services, outcome.ping_id)
        about = (report or {"ping_id": outcome.ping_id, "state": "queued"}) | {"repeated": outcome.repeated}
        return responses.of_json(about, headers=own_headers(empty) + _APPLIED)

    async def _wait(self, request: web.Request, ping: WaitingRequest) -> web.Response:
        represent = prefers_representation(request)
        wait_s = preferred_wait_s(request)
        return responses.response(await ping.answer(_APPLIED, represent=represent, wait_s=wait_s))


def traceparent_of(request: web.Request) -> str | None:
    """Return the header `traceparent`; None if it is missing, or repeated: then it is ignored like a malformed one."""
    values = request.headers.getall(TRACEPARENT, [])
    return values[0] if len(values) == 1 else None


async def is_visible_to(services: Dependencies, report: dict[str, Any], caller: Principal) -> bool:
    """Return whether the caller may read or cancel a ping: a caller that is limited to apps sees pings with such a
    limit.

    A limit in Redis outside the receipt is read for such a caller alone.

    Args:
        services: the services behind the HTTP API.
        report: the ping's report.
        caller: the caller.
    """
    if caller.apps is None:
        return True
    limit = report.get("apps") or await services.receipts.waiting_apps(report["ping_id"])
    return is_visible(limit, caller.apps)


def preferences(request: web.Request) -> dict[str, str]:
    """Return the preferences of the `Prefer` headers by name; the first of repeated names counts (RFC 7240 §2)."""
    values: dict[str, str] = {}
    for line in request.headers.getall("Prefer", []):
        for preference in line.split(","):
            name, _, value = preference.partition(";")[0].partition("=")
            values.setdefault(name.strip().lower(), value.strip().strip('"').lower())
    return values


def prefers_representation(request: web.Request) -> bool:
    """Return whether the caller wants a representation: `Prefer: return=representation` (RFC 7240 §4.2)."""
    return preferences(request).get("return") == "representation"


def preferred_wait_s(request: web.Request) -> float | None:
    """Return the caller's limit of the wait: `Prefer: wait=SECONDS` (RFC 7240 §4.3); None: no limit is given."""
    value = preferences(request).get("wait", "")
    return float(value) if _DELTA_SECONDS.fullmatch(value) else None
