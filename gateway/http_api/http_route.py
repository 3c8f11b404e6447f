"""One row of the table of routes."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple

from aiohttp import web

from protocols.errors import RhoPushError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Refusal = Callable[[web.Request, RhoPushError], Awaitable[web.Response]]
"""Makes the response to a request that is refused before its handler runs."""

_NOT_DESCRIBED: Final[Mapping[str, Any]] = {}


class HttpRoute(NamedTuple):
    """One route.

    Attributes:
        method, path: the HTTP method and path; `{name}` stands for one segment of the path.
        who: "anyone", "token", "header" (a token in the header alone), "operator" (token or admin's session), "login",
            "device" (session or token), "session" (a device's session alone).
        summary: one line for the OpenAPI document.
        handler: the coroutine that answers.
        deprecated: whether this is an older name.
        streams: whether the handler consumes the body while it arrives, at any length.
        changes_state: whether a GET changes state, which RFC 9110 §9.2.1 forbids. RhoConnect has such routes, and
            devices in the field call them; no other GET may change state.
        operation: further members of the route's OpenAPI operation. `parameters` are added to those of the path, and
            `responses` to the common ones; all others replace the generated members.
        errors: error classes with which the handler answers, in addition to those that all routes with the same `who`
            have (`gateway.http_api.openapi.errors`).
        refusal: makes the response to a request that is refused before the handler runs; None: the JSON of the error.
    """

    method: str
    path: str
    who: str
    summary: str
    handler: Handler
    deprecated: bool = False
    changes_state: bool = False
    streams: bool = False
    operation: Mapping[str, Any] = _NOT_DESCRIBED
    errors: tuple[type[RhoPushError], ...] = ()
    refusal: Refusal | None = None

    @property
    def warning(self) -> str:
        """RhoConnect's text about an older name (contract §1)."""
        return f"Use of the {self.method} {self.path} is deprecated. Use Rhoconnect API v1 instead."
