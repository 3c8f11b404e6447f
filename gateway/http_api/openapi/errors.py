"""Error responses, derived from the error classes that a route can answer with."""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from gateway.errors import (
    ApiTokenRefused,
    AppNotAllowed,
    AuthenticationBusy,
    BodiesFull,
    ConnectionsFull,
    ExpectationRefused,
    HeadTooLarge,
    LoginRefused,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    RequestTimeout,
    RhoPushError,
    ScopeMissing,
    StoreBusy,
    StoreDown,
    StoreRefused,
    TooManyDevices,
    TooManyRequests,
    UnexpectedFailure,
)
from gateway.http_api.aiohttp_parser import MalformedRequest
from gateway.http_api.openapi.values import JSON, PLAIN, TEXT, WHOLE, Part, header, reference
from gateway.http_api.responses import ERROR_TEXTS, error_object, retry_after_s
from protocols.errors import BodyTooLarge, InvalidField, MalformedBody, UnsupportedCoding
from protocols.http1.response import REASONS

Errors = tuple[type[RhoPushError], ...]

_EVERY_REQUEST: Final[Errors] = (
    MalformedRequest,
    HeadTooLarge,
    BodyTooLarge,
    RequestTimeout,
    ExpectationRefused,
    ConnectionsFull,
    UnexpectedFailure,
)
_STORE: Final[Errors] = (StoreDown, StoreRefused, StoreBusy)
_PARAMETERS: Final[Errors] = (MalformedBody, InvalidField, UnsupportedCoding, BodiesFull)
_TOKEN: Final[Errors] = (
    *_PARAMETERS,
    ApiTokenRefused,
    ScopeMissing,
    AppNotAllowed,
    AuthenticationBusy,
    *_STORE,
)
_OF_CALLERS: Final[dict[str, Errors]] = {
    "anyone": (),
    "login": (*_PARAMETERS, NotAuthenticated, LoginRefused, TooManyRequests, AuthenticationBusy, *_STORE),
    "token": _TOKEN,
    "header": _TOKEN,
    "operator": _TOKEN,
    "device": (*_TOKEN, NotAuthenticated, NotAllowed, NotFound, TooManyDevices),
    "session": (*_PARAMETERS, NotAuthenticated, NotAllowed, NotFound, AuthenticationBusy, *_STORE),
}
"""Errors of the routes by the value of `HttpRoute.who`: reading the request and checking its caller."""
_WORD: Final = re.compile(r"[0-9A-Za-z]+")
_RETRY_AFTER: Final = header("Seconds after which the same request may succeed.", WHOLE)


def errors_of(path: str, who: str) -> Errors:
    """Return the error classes that a route can answer with, whatever its handler does."""
    unknown: Errors = (NotFound,) if "{" in path else ()
    return _EVERY_REQUEST + _OF_CALLERS[who] + unknown


class Refusal(NamedTuple):
    """The response to the errors of one status.

    Attributes:
        name: its name in the document's components. It depends on the errors alone.
        response: the response.
    """

    name: str
    response: Part


def refusals(classes: Iterable[type[RhoPushError]]) -> dict[str, Refusal]:
    """Return the responses to these errors, by status."""
    by_status: dict[int, list[type[RhoPushError]]] = {}
    for kind in sorted(set(classes), key=lambda kind: (kind.status, kind.code)):
        by_status.setdefault(kind.status, []).append(kind)
    return {
        str(status): Refusal(_name(status, [kind.code for kind in kinds]), _response(kinds))
        for status, kinds in by_status.items()
    }


def _name(status: int, codes: list[str]) -> str:
    """Return the reason phrase of the status, and the codes beyond those of most routes with an API token.

    A response that lacks some of those codes has "Only" and all of its codes.
    """
    common = {kind.code for kind in _EVERY_REQUEST + _TOKEN if kind.status == status}
    words = _words(REASONS[status])
    complete = common <= set(codes)
    shown = [code for code in codes if code not in common] if complete else codes
    return (
        words
        + ("" if complete else "Only")
        + "".join(found for code in shown if (found := _words(code)) != words)
    )


def _words(text: str) -> str:
    return "".join(word.capitalize() for word in _WORD.findall(text))


def _response(kinds: list[type[RhoPushError]]) -> Part:
    """Return the response of a status, which one or more errors have."""
    content: Part = {}
    texts = [kind for kind in kinds if issubclass(kind, ERROR_TEXTS)]
    objects = [kind for kind in kinds if kind not in texts]
    if texts:
        content[PLAIN] = {"schema": TEXT, "examples": {kind.code: {"value": _text(kind)} for kind in texts}}
    if objects:
        examples = {kind.code: {"value": {"error": error_object(kind(_text(kind)))}} for kind in objects}
        content[JSON] = {"schema": reference("ErrorBody"), "examples": examples}
    found: Part = {
        "description": " ".join(f"`{kind.code}`: {_text(kind)}" for kind in kinds),
        "content": content,
    }
    if any(retry_after_s(kind("")) is not None for kind in kinds):
        found["headers"] = {"Retry-After": _RETRY_AFTER}
    return found


def _text(kind: type[RhoPushError]) -> str:
    """Return the first sentence of the class's documentation."""
    first = " ".join((kind.__doc__ or "").split("\n\n", 1)[0].split())
    return first.split(". ", 1)[0].removesuffix(".") + "."
