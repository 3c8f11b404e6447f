"""The form of a ping: RhoConnect's own fields and the gateway's, explained before it is sent."""

import hashlib
import re
import secrets
from collections.abc import Mapping
from typing import Any, Final

import orjson
from aiohttp import web

from gateway.console.guard import Form, Visit, redirect, text_field
from gateway.console.name_lists import names_in
from gateway.console.page_set import PageSet
from gateway.errors import IdempotencyConflict, NotFound, PossiblyAccepted, RhoPushError
from gateway.queue.append_batch import IdempotencyKey
from gateway.queue.ping_queue import PendingAppend, PingQueue
from gateway.registry.scopes import Scope
from protocols.errors import InvalidField
from protocols.ping.parse import from_params

_DEFAULTS: Final[Mapping[str, Any]] = {
    "users": "",
    "message": "push message",
    "title": "",
    "badge": "1",
    "sound": "welcome.mp3",
    "vibrate": "2000",
    "ttl_s": "",
    "deliver_at": "",
    "priority": "",
    "collapse_id": "",
    "all_users": "",
    "devices": "",
    "tokens": "",
    "apps": "",
    "providers": "",
    "except_users": "",
    "sources": (),
}
"""The defaults of RhoConnect's console (contract §6); `sources` are then all that the settings name."""
_NUMBERS: Final = ("badge", "vibrate", "ttl_s")
_TEXTS: Final = ("message", "title", "sound", "deliver_at", "priority", "collapse_id")
_LISTS: Final = ("devices", "apps", "providers", "except_users")
"""Fields of `to` that are lists of names."""
_RECIPIENTS: Final = frozenset({"all_users", "devices", "tokens"})
"""Fields of `to` that name recipients: the others narrow them."""
_TOKEN_PARTS: Final = ("provider", "token", "app")

_NONCE: Final = re.compile(r"[0-9A-Za-z_-]{22}")
"""The form of `secrets.token_urlsafe(16)`."""
_POSSIBLY_STORED: Final = (
    "the gateway does not know whether it has stored the ping: send this form again, which pings once"
    " in any case"
)
_SENT_BEFORE: Final = "this form was sent before with other content: send it again to send a further ping"


class PingForm(PageSet):
    """The routes of the form."""

    async def form(self, request: web.Request, visit: Visit) -> web.Response:
        """Return the form; `users` in the query fills in the users."""
        values = {**_DEFAULTS, "sources": tuple(self._services.settings.sources)}
        values["users"] = request.query.get("users", "")
        return await self._filled(visit, values)

    async def submit(self, request: web.Request, visit: Visit, form: Form) -> web.StreamResponse:
        """Explain the ping, or send it and show its page."""
        values, nonce = values_of(form), text_field(form, "nonce")
        try:
            parameters = read_ping(values)
            if text_field(form, "action") != "send":
                found = await self._explanation(visit, parameters)
                return await self._filled(visit, values, explanation=found, nonce=nonce)
            ping_id = await self._send(visit, nonce, parameters)
            await self.audit(request, visit, f"/ping {ping_id}")
        except IdempotencyConflict:
            return await self._filled(visit, values, error=IdempotencyConflict(_SENT_BEFORE))
        except PossiblyAccepted:
            return await self._filled(visit, values, error=PossiblyAccepted(_POSSIBLY_STORED), nonce=nonce)
        except RhoPushError as error:
            return await self._filled(visit, values, error=error, nonce=nonce)
        if not visit.can(Scope.READ):
            return await self._filled(visit, values, notice=f"The gateway accepted the ping {ping_id}.")
        return redirect(f"/console/pings/{ping_id}")

    async def _explanation(self, visit: Visit, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        explanations = self._services.explanations
        if explanations is None:
            raise NotFound("this process does not explain pings")
        submission = from_params({**parameters, "explain": "true"})
        submission = self._context.admission.admit(submission, visit.principal)
        return await explanations.explain(submission.ping, validates=False)

    async def _send(self, visit: Visit, nonce: str, parameters: Mapping[str, Any]) -> str:
        """Queue the ping. The nonce of the form is its idempotency key: a form that is sent twice pings once."""
        services = self._services
        submission = self._context.admission.admit(from_params(parameters), visit.principal)
        body = orjson.dumps(parameters, option=orjson.OPT_SORT_KEYS)
        scope = hashlib.sha256(f"console\n{visit.csrf}\n{nonce}".encode("utf-8", "surrogatepass")).digest()
        key = IdempotencyKey(scope, hashlib.sha256(body).digest())
        queue: PingQueue = services.queue
        if submission.deliver_at_ms is not None:
            queue = services.queue.at(submission.deliver_at_ms)
        queue = services.queue_of(queue, None)
        outcome = await PendingAppend(queue, submission.ping, len(body), key).outcome()
        if isinstance(outcome, RhoPushError):
            services.metrics.pings_refused(outcome.label).inc()
            raise outcome
        self._context.admission.accepted.inc()
        return outcome.ping_id

    async def _filled(
        self,
        visit: Visit,
        values: Mapping[str, Any],
        *,
        explanation: Mapping[str, Any] | None = None,
        error: RhoPushError | None = None,
        notice: str = "",
        nonce: str = "",
    ) -> web.Response:
        """Return the form with its values, and the explanation of the ping.

        Args:
            visit: the request.
            values: the content of the fields.
            explanation: of the ping.
            error: the reason why it was not sent or explained.
            notice: a text about a ping that was sent.
            nonce: of the form whose ping is not sent, or possibly sent; "": the form begins a further ping.
        """
        names = tuple(self._services.settings.sources)
        further = tuple(name for name in values["sources"] if name not in names)
        return await self.page(
            "ping.html",
            visit,
            notice=notice,
            error=error,
            values=values,
            sources=(*names, *further),
            explanation=explanation,
            nonce=nonce if _NONCE.fullmatch(nonce) else secrets.token_urlsafe(16),
        )


def values_of(form: Form) -> dict[str, Any]:
    """Return the fields of the form as texts; `sources` is a tuple."""
    values: dict[str, Any] = {name: text_field(form, name) for name in _DEFAULTS if name != "sources"}
    sources = form.get("sources", ())
    chosen = [sources] if isinstance(sources, str) else sources if isinstance(sources, list) else []
    further = names_in(text_field(form, "further_sources"))
    named = [name.strip() for name in (*chosen, *further) if isinstance(name, str)]
    values["sources"] = tuple(dict.fromkeys(name for name in named if name))
    return values


def read_ping(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a ping; an empty field is left out.

    Raises:
        InvalidField: there is no recipient, or a line of the push tokens has another form.
    """
    users, to = names_in(values["users"]), _addressees(values)
    if not users and _RECIPIENTS.isdisjoint(to):
        raise InvalidField(
            "name at least one user, device or push token, or choose all users", field="user_id"
        )
    parameters: dict[str, Any] = ({"user_id": users} if users else {}) | ({"to": to} if to else {})
    if values["sources"]:
        parameters["sources"] = list(values["sources"])
    for name in _TEXTS:
        if values[name].strip():
            parameters[name] = values[name]
    for name in _NUMBERS:
        if values[name].strip():
            parameters[name] = values[name].strip()
    return parameters


def _addressees(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameter `to`; empty if the form names no further recipient. Raises as `read_ping`."""
    to: dict[str, Any] = {name: names for name in _LISTS if (names := names_in(values[name]))}
    if values["all_users"]:
        to["all_users"] = True
    if tokens := _tokens(values["tokens"]):
        to["tokens"] = tokens
    return to


def _tokens(text: str) -> list[dict[str, str]]:
    """Return the push tokens of a text with one on each line: provider, token and app, separated by blanks.

    Raises:
        InvalidField: a line has another form. The error does not contain it, since a push token is a secret.
    """
    tokens: list[dict[str, str]] = []
    for words in filter(None, map(str.split, text.splitlines())):
        if not 2 <= len(words) <= len(_TOKEN_PARTS):
            raise InvalidField(
                "expected a provider, a push token and, if needed, an app on each line, separated by blanks",
                field=f"to.tokens[{len(tokens)}]",
            )
        tokens.append(dict(zip(_TOKEN_PARTS, words, strict=False)))
    return tokens
