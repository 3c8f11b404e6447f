"""The OpenAPI 3.1 description of the HTTP API, generated from the table of routes."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

_PART: Final = re.compile(r"{(\w+)}")
_TEXT: Final = {"type": "string"}
_NAMES: Final = {"oneOf": [_TEXT, {"type": "array", "items": _TEXT}]}
_NUMBER: Final = {"type": ["integer", "string"]}

_PING: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "user_id": _NAMES | {"description": "One login, or a list of logins."},
        "sources": _NAMES | {"description": "Sources to sync: a name, names with commas, a list, or `all`."},
        "source_id": _NAMES | {"description": "Sources to sync if `sources` is absent."},
        "message": {"description": "The alert: text; any JSON for RhoConnect Push devices."},
        "title": _TEXT | {"description": "The alert's title."},
        "badge": _NUMBER | {"description": "Number on the icon; 0 clears it."},
        "sound": _TEXT | {"description": "A sound file's name."},
        "vibrate": _NUMBER | {"description": "Milliseconds."},
        "async": {"description": "Accepted without effect: every ping is queued before the response."},
        "wait": {"type": "boolean", "description": "Respond once every device has its verdict."},
        "ttl_s": _NUMBER | {"description": "Time to live, seconds."},
        "priority": {"type": "string", "enum": ["high", "normal"]},
        "collapse_id": _TEXT | {"description": "At most 64 bytes; a later push with it replaces this one."},
        "explain": {
            "type": "boolean",
            "description": "Send and store nothing; answer what the ping would do.",
        },
        "validate": {"type": "boolean", "description": "With `explain`: let FCM check each message."},
        "deliver_at": {"type": ["string", "number"]}
        | {"description": "Deliver from this time on: RFC 3339 with a zone, or seconds since 1970."},
        "api_token": _TEXT | {"description": "For clients that cannot set the header."},
    },
}
_NOT_IN_A_LINE: Final = ("wait", "explain", "validate", "api_token")
_LINE_KEY: Final = _TEXT | {
    "description": "1 to 255 visible ASCII characters, honoured for 24 hours as Idempotency-Key is."
}
_DEVICE: Final[dict[str, Any]] = {
    "type": "object",
    "properties": dict.fromkeys(
        (
            "device_type",
            "device_push_type",
            "device_pin",
            "device_port",
            "phone_id",
            "device_app_id",
            "device_app_version",
            "user_id",
        ),
        _TEXT,
    ),
}
_LOGIN: Final[dict[str, Any]] = {"type": "object", "properties": {"login": _TEXT, "password": _TEXT}}
_USER: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"attributes": {"type": "object", "properties": {"login": _TEXT, "password": _TEXT}}},
}
_BODIES: Final = {
    ("POST", "/rc/v1/users/ping"): _PING,
    ("POST", "/rc/v1/users%20/ping"): _PING,
    ("POST", "/rc/v1/system/login"): _LOGIN,
    ("POST", "/rc/v1/app/login"): _LOGIN,
    ("POST", "/rc/v1/users"): _USER,
    ("PUT", "/rc/v1/users/{user_id}"): _USER,
    ("POST", "/rc/v1/clients"): _DEVICE,
    ("POST", "/rc/v1/clients/{client_id}/register"): _DEVICE,
}
_ERROR: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "field"],
            "properties": {"code": _TEXT, "message": _TEXT, "field": {"type": ["string", "null"]}},
        }
    },
}
_LINE_ERROR: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["error", "line"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "field"],
            "properties": {
                "code": _TEXT,
                "message": _TEXT,
                "field": {"type": ["string", "null"]},
                "retry_after_s": {
                    "type": "integer",
                    "description": "Seconds after which the line may be retried; absent: the line must change.",
                },
            },
        },
        "line": {"type": "integer", "description": "The line's number, from 1; blank lines count."},
        "ping_id": _TEXT | {"description": "With `possibly_accepted`: the ping's id."},
        "resume_from": {
            "type": "integer",
            "description": "In the last line of an interrupted request: neither this line nor a later one was read.",
        },
    },
}
_LINE_ANSWER: Final[dict[str, Any]] = {
    "oneOf": [
        {
            "type": "object",
            "required": ["ping_id"],
            "properties": {
                "ping_id": _TEXT,
                "warning": _TEXT | {"description": "Unknown parameters, as in X-Ping-Warning."},
            },
        },
        _LINE_ERROR,
    ]
}
_SUMMARY: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["accepted", "refused", "errors"],
    "properties": {
        "accepted": {"type": "integer"},
        "refused": {"type": "integer"},
        "errors": {"type": "array", "maxItems": 100, "items": _LINE_ERROR},
    },
}
_STATES: Final = ("queued", "open", "done")
_COUNT: Final = {"type": "integer"}
_COUNTS: Final = {"type": "object", "additionalProperties": _COUNT}
_EXPLAINED_DEVICE: Final[dict[str, Any]] = {
    "client_id": _TEXT,
    "user_id": _TEXT,
    "provider": _TEXT,
    "app": _TEXT,
    "token": _TEXT | {"description": "The first characters of the push token, and its length."},
}
_VALIDATION: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["verdict", "reason"],
    "properties": {
        "verdict": {
            "type": "string",
            "enum": ["accepted", "rejected", "retry_later", "unknown", "not_available"],
        },
        "reason": _TEXT,
    },
}
_EXPLANATION: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["devices", "left_out", "unknown_users", "totals"],
    "properties": {
        "devices": {
            "type": "array",
            "items": {
                "type": "object",
                "required": [*_EXPLAINED_DEVICE, "lane", "host", "path", "headers", "payload", "bytes"],
                "properties": {
                    **_EXPLAINED_DEVICE,
                    "lane": _TEXT,
                    "host": _TEXT | {"description": "Empty: the gateway itself is the service."},
                    "path": _TEXT,
                    "headers": {"type": "object", "additionalProperties": _TEXT},
                    "payload": {"description": "The body of the request; null where it is not JSON."},
                    "bytes": _COUNT,
                    "note": _TEXT | {"description": "Why the lane cannot send now; it is no exclusion."},
                    "validation": _VALIDATION,
                },
            },
        },
        "left_out": {
            "type": "array",
            "items": {
                "type": "object",
                "required": [*_EXPLAINED_DEVICE, "reason", "text"],
                "properties": {
                    **_EXPLAINED_DEVICE,
                    "reason": _TEXT | {"description": "Code, as in the receipt of a ping."},
                    "text": _TEXT | {"description": "The reason in words."},
                    "same_as": _TEXT | {"description": "`repeated`: the client that the ping reaches."},
                    "provider_reason": _TEXT,
                    "since": _TEXT | {"description": "`dead_token`: time of the mark (RFC 3339)."},
                },
            },
        },
        "unknown_users": {"type": "array", "items": _TEXT},
        "totals": {
            "type": "object",
            "properties": {
                **dict.fromkeys(("users", "unknown_users", "devices", "left_out", "bytes"), _COUNT),
                "by_provider": _COUNTS,
                "by_reason": _COUNTS,
            },
        },
    },
}
_READINESS: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["ready", "missing", "degraded"],
    "properties": {
        "ready": {"type": "boolean"},
        "missing": {"type": "object", "additionalProperties": _TEXT},
        "degraded": {
            "type": "object",
            "description": "Parts that only some pings need: a lane, or a Redis of one way of pings.",
            "additionalProperties": _TEXT,
        },
    },
}
_COUNT_MAP: Final[dict[str, Any]] = {
    "type": "object",
    "description": "Devices by verdict. A ping that is queued has none.",
    "additionalProperties": {"type": "integer"},
}
_PAGE: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["pings", "next_cursor"],
    "properties": {
        "pings": {
            "type": "array",
            "maxItems": 500,
            "items": {
                "type": "object",
                "required": ["ping_id", "state", "accepted_at", "ingress", "counts"],
                "properties": {
                    "ping_id": _TEXT,
                    "state": {"type": "string", "enum": [*_STATES]},
                    "accepted_at": {"type": ["string", "null"], "format": "date-time"},
                    "ingress": {"type": ["string", "null"], "description": "null: not stored any more."},
                    "counts": _COUNT_MAP,
                },
            },
        },
        "next_cursor": {"type": ["string", "null"], "description": "null: there are no more pings."},
    },
}
_LIST_PARAMETERS: Final = [
    {"in": "query", "name": "state", "schema": {"type": "string", "enum": [*_STATES]}},
    {
        "in": "query",
        "name": "limit",
        "schema": {"type": "integer", "minimum": 1, "maximum": 500, "default": 50},
    },
    {
        "in": "query",
        "name": "cursor",
        "schema": _TEXT,
        "description": "`next_cursor` of the page before.",
    },
]
_OWN_RESPONSES: Final[dict[str, dict[str, Any]]] = {
    "GET /rc/v1/pings": {
        "200": {"description": "One page", "content": {"application/json": {"schema": _PAGE}}},
        "400": {
            "description": "A parameter has no valid value; `field` names it.",
            "content": {"application/json": {"schema": _ERROR}},
        },
    },
    "/readyz": {
        "200": {"description": "Ready", "content": {"application/json": {"schema": _READINESS}}},
        "503": {
            "description": "Not ready: `missing` gives the reason for each component.",
            "content": {"application/json": {"schema": _READINESS}},
        },
    },
    "POST /rc/v1/pings": {
        "200": {
            "description": "One answer per line, in order, each once its ping is durable; "
            "with `Prefer: return=minimal` a summary.",
            "content": {
                "application/x-ndjson": {"schema": _LINE_ANSWER},
                "application/json": {"schema": _SUMMARY},
            },
        },
    },
    "/rc/v1/system/rps_login": {"204": {"description": "Authenticated"}},
    "/rc/v1/app/rps_login": {"204": {"description": "Authenticated"}},
}
"""Responses of the routes whose success is not a plain 200, by path, or by method and path where methods differ."""
_WHO: Final[dict[str, list[dict[str, list[str]]]]] = {
    "anyone": [],
    "login": [],
    "token": [{"token": []}, {"parameter": []}],
    "header": [{"token": []}],
    "operator": [{"token": []}, {"parameter": []}, {"session": []}],
    "device": [{"session": []}, {"token": []}],
}
_REFUSED: Final = {
    "anyone": None,
    "login": ("401", "The login is refused (text)"),
    "token": ("422", "No API token of an admin (text, RhoConnect's words)"),
    "header": ("422", "No API token of an admin (text, RhoConnect's words)"),
    "operator": ("422", "No API token of an admin (text, RhoConnect's words)"),
    "device": ("401", "No session (text)"),
}

_NO_ADDITIONS: Final[Mapping[str, str]] = {}
_PREFER_MINIMAL: Final = {"description": "`return=minimal`: a summary instead of one answer per line."}
_PREFER: Final = "`return=representation`: a JSON report; `wait=SECONDS`: a shorter limit of `wait`."


class DescribedRoute(NamedTuple):
    """A route as far as the document describes it; the attributes are those of `HttpRoute`."""

    method: str
    path: str
    who: str
    summary: str
    operation: Mapping[str, Any] = {}


def describe(
    routes: Iterable[DescribedRoute], additions: Mapping[str, str] = _NO_ADDITIONS
) -> dict[str, Any]:
    """Return the OpenAPI document.

    Args:
        routes: the routes.
        additions: parameters with raw additions to one provider's message, and their descriptions.
    """
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        operation = _operation(*route[:4], additions)
        paths.setdefault(route.path, {})[route.method.lower()] = _with_own(operation, route.operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Rho Push Gateway", "version": "1"},
        "paths": paths,
        "components": {
            "schemas": {"Error": _ERROR},
            "securitySchemes": {
                "token": {"type": "apiKey", "in": "header", "name": "X-RhoConnect-API-TOKEN"},
                "parameter": {"type": "apiKey", "in": "query", "name": "api_token"},
                "session": {"type": "apiKey", "in": "cookie", "name": "rhoconnect_session"},
            },
        },
    }


def _with_own(operation: dict[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the generated operation with the members that the route itself describes."""
    return {
        **operation,
        **own,
        "parameters": [*operation["parameters"], *own.get("parameters", ())],
        "responses": {**operation["responses"], **own.get("responses", {})},
    }


def _operation(
    method: str, path: str, who: str, summary: str, additions: Mapping[str, str]
) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": summary,
        "security": _WHO[who],
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": _TEXT} for name in _PART.findall(path)
        ],
        "responses": _responses(method, path, who),
    }
    body = _BODIES.get((method, path))
    is_ping = body is _PING
    if is_ping:
        body = _with_additions(additions)
    if body is not None:
        kinds = ("application/json", "application/x-www-form-urlencoded")
        operation["requestBody"] = {"content": {kind: {"schema": body} for kind in kinds}}
    if (method, path) == ("GET", "/rc/v1/pings"):
        operation["parameters"] += _LIST_PARAMETERS
    if (method, path) == ("POST", "/rc/v1/pings"):
        operation["requestBody"] = {
            "content": {"application/x-ndjson": {"schema": _line(additions)}},
            "required": True,
        }
        operation["parameters"].append({"in": "header", "schema": _TEXT, "name": "Prefer"} | _PREFER_MINIMAL)
    if is_ping:
        header = {"in": "header", "schema": _TEXT}
        operation["parameters"] += [
            header | {"name": "Idempotency-Key", "description": "Honoured for 24 hours."},
            header | {"name": "Prefer", "description": _PREFER},
        ]
    return operation


def _with_additions(additions: Mapping[str, str]) -> dict[str, Any]:
    """Return the schema of a ping, including the parameters for raw additions to each provider's message."""
    further = {name: {"type": "object", "description": text} for name, text in additions.items()}
    return _PING | {"properties": {**_PING["properties"], **further}}


def _line(additions: Mapping[str, str]) -> dict[str, Any]:
    """The schema of one line of a body with many pings."""
    parameters = _with_additions(additions)["properties"]
    ping = {name: kind for name, kind in parameters.items() if name not in _NOT_IN_A_LINE}
    return {
        "type": "object",
        "description": "One line; the body has any number of them.",
        "properties": {**ping, "idempotency_key": _LINE_KEY},
    }


def _own_responses(method: str, path: str) -> dict[str, Any]:
    own = _OWN_RESPONSES.get(f"{method} {path}")
    return _OWN_RESPONSES.get(path, {"200": {"description": "Done"}}) if own is None else own


def _responses(method: str, path: str, who: str) -> dict[str, Any]:
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    responses: dict[str, Any] = {
        **_own_responses(method, path),
        "default": {"description": "Refused", "content": error},
    }
    refused = _REFUSED[who]
    if refused is not None:
        responses[refused[0]] = {"description": refused[1]}
    if path.endswith("/ping"):
        header = {"schema": _TEXT}
        responses["200"] = {
            "description": "The ping is durable. The body is empty. With `explain`: nothing was sent or stored.",
            "content": {"application/json": {"schema": _EXPLANATION}},
            "headers": {"X-Ping-Id": header, "X-Ping-Warning": header},
        }
        responses["500"] = {
            "description": "With `wait`: the devices' errors, joined as RhoConnect does (text)"
        }
        responses["504"] = {
            "description": "With `wait`: not every device has its verdict yet. Delivery continues.",
            "content": error,
        }
        responses["503"] = {
            "description": "Not accepted, or (with X-Ping-Id) possibly accepted: query the report of that id.",
            "headers": {"Retry-After": header, "X-Ping-Id": header},
            "content": error,
        }
    return responses
