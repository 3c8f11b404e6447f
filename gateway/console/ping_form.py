"""The form of a ping: RhoConnect's own fields and the gateway's, explained before it is sent."""

import hashlib
import re
import secrets
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import orjson
from aiohttp import web

from gateway.console.guard import Form, Visit, redirect, text_field
from gateway.console.pages import Pages
from gateway.errors import NotAllowed, RhoPushError
from gateway.http_api.context import HandlerContext
from gateway.queue.producer import IdempotencyKey, PendingAppend, PingQueue
from gateway.registry.accounts import TokenRole
from gateway.registry.scopes import Principal, Scope
from protocols.errors import InvalidField
from protocols.ping.parse import Submission, from_params

BROADCAST_USERS: Final = 10_000
"""Most users of a ping without the scope `broadcast`."""
_SEPARATORS: Final = re.compile(r"[\r\n,]+")
_DEFAULTS: Final[Mapping[str, Any]] = {
    "users": "",
    "message": "push message",
    "title": "",
    "badge": "1",
    "sound": "welcome.mp3",
    "vibrate": "2000",
    "ttl_s": "",
    "deliver_at": "",
    "sources": (),
}
"""The defaults of RhoConnect's console (contract §6); `sources` are then all that the settings name."""
_NUMBERS: Final = ("badge", "vibrate", "ttl_s")
_TEXTS: Final = ("message", "title", "sound", "deliver_at")


class FormPing(NamedTuple):
    """A ping as a form names it.

    Attributes:
        values: the fields of the form, to show them again.
        parameters: the parameters of RhoConnect's ping.
    """

    values: dict[str, Any]
    parameters: dict[str, Any]


class PingForm:
    """The routes of the form.

    Args:
        context: the state shared by the routes.
        pages: renders the form.
    """

    def __init__(self, context: HandlerContext, pages: Pages) -> None:
        self._context = context
        self._services = context.services
        self._pages = pages

    async def form(self, request: web.Request, visit: Visit) -> web.Response:
        """Return the form; `users` in the query fills in the users."""
        values = {**_DEFAULTS, "sources": tuple(self._services.settings.sources)}
        values["users"] = request.query.get("users", "")
        return await self._page(visit, values)

    async def submit(self, _: web.Request, visit: Visit, form: Form) -> web.StreamResponse:
        """Explain the ping, or send it and show its page."""
        values = values_of(form)
        try:
            ping = read_ping(values)
            submission = from_params(ping.parameters)
            require_users(visit.principal, submission)
            if text_field(form, "action") != "send":
                return await self._explained(visit, values, submission)
            ping_id = await self._send(text_field(form, "nonce"), submission, ping.parameters)
        except RhoPushError as error:
            return await self._page(visit, values, error=error, status=error.status)
        return redirect(f"/console/pings/{ping_id}")

    async def _explained(self, visit: Visit, values: dict[str, Any], submission: Submission) -> web.Response:
        explanations = self._services.explanations
        if explanations is None:
            raise NotAllowed("this process explains no pings")
        found = await explanations.explain(submission.ping, validates=False)
        return await self._page(visit, values, explanation=found)

    async def _send(self, nonce: str, submission: Submission, parameters: Mapping[str, Any]) -> str:
        """Queue the ping. The nonce of the form is its idempotency key: a form that is sent twice pings once."""
        services = self._services
        self._context.admission.admit(submission, TokenRole.ADMIN)
        body = orjson.dumps(parameters, option=orjson.OPT_SORT_KEYS)
        scope = hashlib.sha256(f"console\n{nonce}".encode("utf-8", "surrogatepass")).digest()
        key = IdempotencyKey(scope, hashlib.sha256(body).digest())
        queue: PingQueue = services.queue
        if submission.deliver_at_ms is not None:
            queue = services.queue.at(submission.deliver_at_ms)
        outcome = await PendingAppend(queue, submission.ping, len(body), key).outcome()
        if isinstance(outcome, RhoPushError):
            services.metrics.pings_refused(outcome.label).inc()
            raise outcome
        self._context.admission.accepted.inc()
        return outcome.ping_id

    async def _page(
        self,
        visit: Visit,
        values: Mapping[str, Any],
        *,
        explanation: Mapping[str, Any] | None = None,
        error: RhoPushError | None = None,
        status: int = 200,
    ) -> web.Response:
        names = tuple(self._services.settings.sources)
        further = tuple(name for name in values["sources"] if name not in names)
        return await self._pages.render(
            "ping.html",
            status,
            visit=visit,
            values=values,
            sources=(*names, *further),
            explanation=explanation,
            error=error,
            nonce=secrets.token_urlsafe(16),
        )


def values_of(form: Form) -> dict[str, Any]:
    """Return the fields of the form as texts; `sources` is a tuple."""
    values: dict[str, Any] = {name: text_field(form, name) for name in _DEFAULTS if name != "sources"}
    sources = form.get("sources", ())
    chosen = [sources] if isinstance(sources, str) else sources if isinstance(sources, list) else []
    further = _SEPARATORS.split(text_field(form, "further_sources"))
    named = [name.strip() for name in (*chosen, *further) if isinstance(name, str)]
    values["sources"] = tuple(dict.fromkeys(name for name in named if name))
    return values


def read_ping(values: Mapping[str, Any]) -> FormPing:
    """Return the parameters of the ping; an empty field is left out.

    Raises:
        InvalidField: there is no user.
    """
    users = [name.strip() for name in _SEPARATORS.split(values["users"])]
    users = [name for name in users if name]
    if not users:
        raise InvalidField("name at least one user", field="user_id")
    parameters: dict[str, Any] = {"user_id": users}
    if values["sources"]:
        parameters["sources"] = list(values["sources"])
    for name in _TEXTS:
        if values[name].strip():
            parameters[name] = values[name]
    for name in _NUMBERS:
        if values[name].strip():
            parameters[name] = values[name].strip()
    return FormPing(dict(values), parameters)


def require_users(principal: Principal, submission: Submission) -> None:
    """Require the scope `broadcast` for a ping to many users.

    Raises:
        NotAllowed: the caller lacks it.
    """
    if len(submission.ping.users) <= BROADCAST_USERS:
        return
    if not principal.scopes & {Scope.BROADCAST, Scope.ADMIN}:
        raise NotAllowed(f"{principal.name} lacks the scope broadcast")
