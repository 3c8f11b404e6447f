"""The operations that accept pings: parameters, lines of a body with many pings, responses, explained pings."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal, NotRequired, TypedDict

from msgspec import Meta

from gateway.errors import (
    IdempotencyConflict,
    LineTooLong,
    PossiblyAccepted,
    QueueFull,
    ScheduleFull,
    ShuttingDown,
    TooManyRequests,
    UnsupportedMediaType,
)
from gateway.http_api.openapi.errors import Errors
from gateway.http_api.openapi.reports import EXAMPLE_REPORT, PingReport
from gateway.http_api.openapi.values import (
    EXAMPLE_ID,
    FORM,
    HTML,
    JSON,
    NDJSON,
    PING_ID,
    TEXT,
    Part,
    header,
    json_answer,
    names,
    reference,
    request_header,
)
from gateway.http_api.responses import ErrorObject
from protocols.ping.address import LIST_MAX, TOKEN_CHARACTERS
from protocols.ping.fields import COLLAPSE_ID_BYTES, NUMBER_MAX, TTL_MAX_S
from protocols.ping.limits import NAME_CHARACTERS, TEXTS


def _number(most: int, text: str) -> Part:
    digits = {**TEXT, "pattern": f"^[0-9]{{1,{len(str(most)) - 1}}}$"}
    return {"oneOf": [{"type": "integer", "minimum": 0, "maximum": most}, digits], "description": text}


def _named(text: str, name: Part | None = None, least: int = 0) -> Part:
    """The schema of a list of names in `to`."""
    items = name or {**TEXT, "minLength": 1, "maxLength": NAME_CHARACTERS}
    found = {"type": "array", "items": items, "maxItems": LIST_MAX, "description": text}
    return found | ({"minItems": least} if least else {})


def _to(providers: Sequence[str]) -> Part:
    """The schema of `to`.

    Args:
        providers: names of the installed providers.
    """
    provider = {**TEXT, "enum": list(providers)} if providers else TEXT
    token = {
        "type": "object",
        "required": ["provider", "token"],
        "additionalProperties": False,
        "properties": {
            "provider": provider,
            "token": {**TEXT, "minLength": 1, "maxLength": TOKEN_CHARACTERS},
            "app": {**TEXT, "maxLength": NAME_CHARACTERS},
        },
    }
    return {
        "type": "object",
        "description": "Recipients beside or instead of `user_id`; in a form, the JSON of the object.",
        "additionalProperties": False,
        "properties": {
            "all_users": {
                "type": "boolean",
                "description": "Every user; true not with `user_id`, `devices` or `tokens`.",
            },
            "devices": _named("Client ids."),
            "tokens": _named("Push tokens that need not be registered.", token),
            "apps": _named("Only devices of these apps.", least=1),
            "providers": _named("Only devices of these providers.", provider, least=1),
            "except_users": _named("Users that the ping does not reach."),
        },
    }


PARAMETERS: Final[dict[str, Part]] = {
    "user_id": names(NAME_CHARACTERS) | {"description": "One login, or a list of logins."},
    "sources": names(NAME_CHARACTERS)
    | {"description": "Sources to sync: a name, names with commas, a list, or `all`."},
    "source_id": names(NAME_CHARACTERS) | {"description": "Sources to sync if `sources` is absent."},
    "message": {"description": "The alert: text; any JSON for RhoConnect Push devices."},
    "title": TEXT | {"maxLength": TEXTS["title"], "description": "The alert's title."},
    "badge": {
        "oneOf": [*_number(NUMBER_MAX, "")["oneOf"], {"type": "string", "const": "+1"}],
        "description": "Number on the icon; 0 clears it; the text `+1` is one more than the device's last one.",
    },
    "sound": TEXT | {"maxLength": TEXTS["sound"], "description": "A sound file's name."},
    "vibrate": _number(NUMBER_MAX, "Milliseconds."),
    "async": {
        "type": "boolean",
        "description": "Accepted without effect: every ping is queued before the response.",
    },
    "wait": {"type": "boolean", "description": "Respond once every device has its verdict."},
    "ttl_s": _number(TTL_MAX_S, "Time to live, seconds."),
    "priority": {"type": "string", "enum": ["high", "normal"]},
    "collapse_id": TEXT
    | {
        "pattern": f"^[!-~]{{0,{COLLAPSE_ID_BYTES}}}$",
        "description": "At most 64 bytes; a later push with it replaces this one.",
    },
    "explain": {"type": "boolean", "description": "Send and store nothing; answer what the ping would do."},
    "validate": {"type": "boolean", "description": "With `explain`: let FCM check each message."},
    "to": _to(()),
    "deliver_at": {
        "oneOf": [{**TEXT, "format": "date-time"}, {"type": "number", "minimum": 0}],
        "description": "Deliver from this time on: RFC 3339 with a zone, or seconds since 1970; "
        "at most 30 days ahead.",
    },
    "api_token": TEXT | {"description": "For clients that cannot set the header."},
}
_NOT_IN_A_LINE: Final = ("wait", "explain", "validate", "api_token")
_LINE_KEY: Final[Part] = TEXT | {
    "pattern": "^[!-~]{1,255}$",
    "description": "1 to 255 visible ASCII characters, honoured for 24 hours as Idempotency-Key is.",
}
_EXAMPLE: Final = {"user_id": ["bob", "eve"], "sources": "Product", "message": "hello", "badge": 1}
_EXAMPLE_LINES: Final = (
    '{"user_id": "bob", "message": "hello", "idempotency_key": "order-17"}\n{"user_id": "eve", "badge": 3}\n'
)


class AcceptedLine(TypedDict):
    """The answer to a line whose ping is durable."""

    ping_id: str
    warning: NotRequired[Annotated[str, Meta(description="Unknown parameters, as in X-Ping-Warning.")]]


class LineErrorObject(ErrorObject):
    """The error of a line."""

    retry_after_s: NotRequired[
        Annotated[
            int,
            Meta(description="Seconds after which the line may be retried; absent: the line must change."),
        ]
    ]


class RefusedLine(TypedDict):
    """The answer to a line that is refused."""

    error: LineErrorObject
    line: Annotated[int, Meta(description="The line's number, from 1; blank lines count.")]
    ping_id: NotRequired[Annotated[str, Meta(description="With `possibly_accepted`: the ping's id.")]]
    resume_from: NotRequired[
        Annotated[
            int,
            Meta(
                description="In the last line of an interrupted request: neither this line nor a later one was read."
            ),
        ]
    ]


class BulkSummary(TypedDict):
    """The answer to all lines together."""

    accepted: int
    refused: int
    errors: Annotated[list[RefusedLine], Meta(description="The first 100 refused lines.")]


class StillOpen(TypedDict):
    """The ping is accepted, and not every device has its verdict yet."""

    error: ErrorObject
    report: Annotated[PingReport | None, Meta(description="null: Redis did not answer.")]


class _ExplainedDevice(TypedDict):
    client_id: str
    user_id: str
    provider: str
    app: str
    token: Annotated[str, Meta(description="The first characters of the push token, and its length.")]


class Validation(TypedDict):
    """The provider's verdict about a message that it only checked."""

    verdict: Literal["accepted", "rejected", "retry_later", "unknown", "not_available"]
    reason: str


class ExplainedRecipient(_ExplainedDevice):
    """A device that the ping would reach."""

    lane: str
    host: Annotated[str, Meta(description="Empty: the gateway itself is the service.")]
    path: str
    headers: dict[str, str]
    payload: Annotated[Any, Meta(description="The body of the request; null where it is not JSON.")]
    bytes: int
    note: NotRequired[Annotated[str, Meta(description="Why the lane cannot send now; it is no exclusion.")]]
    validation: NotRequired[Validation]


class ExplainedOmission(_ExplainedDevice):
    """A device that the ping would not reach."""

    reason: Annotated[str, Meta(description="Code, as in the receipt of a ping.")]
    text: Annotated[str, Meta(description="The reason in words.")]
    same_as: NotRequired[Annotated[str, Meta(description="`repeated`: the client that the ping reaches.")]]
    provider_reason: NotRequired[str]
    since: NotRequired[Annotated[str, Meta(description="`dead_token`: time of the mark (RFC 3339).")]]


class ExplanationTotals(TypedDict):
    """Numbers of an explanation."""

    users: int
    unknown_users: int
    devices: int
    left_out: int
    bytes: int
    by_provider: dict[str, int]
    by_reason: dict[str, int]


class Explanation(TypedDict):
    """The deliveries that a ping would have."""

    devices: list[ExplainedRecipient]
    left_out: list[ExplainedOmission]
    unknown_users: list[str]
    totals: ExplanationTotals


FORMS: Final = (AcceptedLine, RefusedLine, BulkSummary, StillOpen, Explanation)
APPENDING: Final[Errors] = (PossiblyAccepted, QueueFull, ScheduleFull, IdempotencyConflict, TooManyRequests)
"""Errors of an append to the queue."""
BULK: Final[Errors] = (*APPENDING, UnsupportedMediaType, LineTooLong, ShuttingDown)

_EXAMPLE_SUMMARY: Final = {"accepted": 2, "refused": 0, "errors": []}
_WARNING: Final = header("Unknown parameters, and the Content-Type of a body that was not read.")
_PREFER: Final = "`return=representation`: a JSON report; `wait=SECONDS`: a shorter limit of `wait`."
_STILL_OPEN: Final = {
    "error": {"code": "still_open", "message": "not every device has its verdict yet", "field": None},
    "report": EXAMPLE_REPORT,
}

PING_OPERATION: Final[Mapping[str, Any]] = {
    "requestBody": {
        "content": {
            JSON: {"schema": reference("Ping"), "example": _EXAMPLE},
            FORM: {"schema": reference("Ping")},
        },
        "required": True,
    },
    "parameters": [
        request_header(
            "Idempotency-Key",
            "Honoured for 24 hours. Not with `explain`.",
            {**TEXT, "pattern": "^[!-~]{1,255}$"},
        ),
        request_header("Prefer", _PREFER),
    ],
    "responses": {
        "200": {
            "description": "The ping is durable. The body is empty; with `Prefer: return=representation` it is a "
            "report. With `explain`: nothing was sent or stored, and the body is the explanation.",
            "content": {
                HTML: {"schema": {**TEXT, "maxLength": 0}, "example": ""},
                JSON: {
                    "schema": {"anyOf": [reference("PingReport"), reference("Explanation")]},
                    "example": EXAMPLE_REPORT,
                },
            },
            "headers": {"X-Ping-Id": header("The ping's id.", PING_ID), "X-Ping-Warning": _WARNING},
        },
        "500": {
            "description": "With `wait`: the devices' errors, joined as RhoConnect does; or an unexpected failure.",
            "content": {
                HTML: {"schema": TEXT, "example": r"apns: Unregistered\nfcm: UNREGISTERED"},
                JSON: {"schema": {"anyOf": [reference("PingReport"), reference("ErrorBody")]}},
            },
        },
        "504": json_answer(
            reference("StillOpen"),
            _STILL_OPEN,
            "With `wait`: not every device has its verdict yet. Delivery continues.",
            {"X-Ping-Id": header("The ping's id.", PING_ID), "X-Ping-Warning": _WARNING},
        ),
    },
}
BULK_OPERATION: Final[Mapping[str, Any]] = {
    "requestBody": {
        "content": {NDJSON: {"schema": reference("PingLine"), "example": _EXAMPLE_LINES}},
        "required": True,
        "description": "Any number of lines, each a ping.",
    },
    "parameters": [
        request_header("Prefer", "`return=minimal`: a summary instead of one answer per line."),
    ],
    "responses": {
        "200": {
            "description": "One answer per line, in order, each once its ping is durable; "
            "with `Prefer: return=minimal` a summary.",
            "content": {
                NDJSON: {
                    "schema": {"oneOf": [reference("AcceptedLine"), reference("RefusedLine")]},
                    "example": f'{{"ping_id":"{EXAMPLE_ID}"}}\n',
                },
                JSON: {"schema": reference("BulkSummary"), "example": _EXAMPLE_SUMMARY},
            },
        },
    },
}


def schemas(additions: Mapping[str, str], providers: Sequence[str] = ()) -> dict[str, Part]:
    """Return the schemas of a ping and of a line.

    Args:
        additions: parameters with raw additions to one provider's message, and their descriptions.
        providers: names of the installed providers.
    """
    further = {name: {"type": "object", "description": text} for name, text in additions.items()}
    ping = {**PARAMETERS, "to": _to(providers), **further}
    line = {name: schema for name, schema in ping.items() if name not in _NOT_IN_A_LINE}
    return {
        "Ping": {"type": "object", "properties": ping},
        "PingLine": {
            "type": "object",
            "description": "One line; the body has any number of them.",
            "properties": {**line, "idempotency_key": _LINE_KEY},
        },
    }
