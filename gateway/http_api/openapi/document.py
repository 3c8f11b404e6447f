"""The OpenAPI 3.1 description of the HTTP API, generated from the table of routes."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from gateway.http_api.openapi.errors import ERROR
from gateway.http_api.openapi.ping import EXPLANATION, LINE_ANSWER, LINE_KEY, NOT_IN_A_LINE, PING, SUMMARY
from gateway.http_api.openapi.registry import DEVICE, LOGIN, USER
from gateway.http_api.openapi.reports import LIST_PARAMETERS, PAGE, READINESS
from gateway.http_api.openapi.values import TEXT

_PART: Final = re.compile(r"{(\w+)}")

_BODIES: Final = {
    ("POST", "/rc/v1/users/ping"): PING,
    ("POST", "/rc/v1/users%20/ping"): PING,
    ("POST", "/rc/v1/system/login"): LOGIN,
    ("POST", "/rc/v1/app/login"): LOGIN,
    ("POST", "/rc/v1/users"): USER,
    ("PUT", "/rc/v1/users/{user_id}"): USER,
    ("POST", "/rc/v1/clients"): DEVICE,
    ("POST", "/rc/v1/clients/{client_id}/register"): DEVICE,
}
_OWN_RESPONSES: Final[dict[str, dict[str, Any]]] = {
    "GET /rc/v1/pings": {
        "200": {"description": "One page", "content": {"application/json": {"schema": PAGE}}},
        "400": {
            "description": "A parameter has no valid value; `field` names it.",
            "content": {"application/json": {"schema": ERROR}},
        },
    },
    "/readyz": {
        "200": {"description": "Ready", "content": {"application/json": {"schema": READINESS}}},
        "503": {
            "description": "Not ready: `missing` gives the reason for each component.",
            "content": {"application/json": {"schema": READINESS}},
        },
    },
    "POST /rc/v1/pings": {
        "200": {
            "description": "One answer per line, in order, each once its ping is durable; "
            "with `Prefer: return=minimal` a summary.",
            "content": {
                "application/x-ndjson": {"schema": LINE_ANSWER},
                "application/json": {"schema": SUMMARY},
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
            "schemas": {"Error": ERROR},
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
            {"name": name, "in": "path", "required": True, "schema": TEXT} for name in _PART.findall(path)
        ],
        "responses": _responses(method, path, who),
    }
    body = _BODIES.get((method, path))
    is_ping = body is PING
    if is_ping:
        body = _with_additions(additions)
    if body is not None:
        kinds = ("application/json", "application/x-www-form-urlencoded")
        operation["requestBody"] = {"content": {kind: {"schema": body} for kind in kinds}}
    if (method, path) == ("GET", "/rc/v1/pings"):
        operation["parameters"] += LIST_PARAMETERS
    if (method, path) == ("POST", "/rc/v1/pings"):
        operation["requestBody"] = {
            "content": {"application/x-ndjson": {"schema": _line(additions)}},
            "required": True,
        }
        operation["parameters"].append({"in": "header", "schema": TEXT, "name": "Prefer"} | _PREFER_MINIMAL)
    if is_ping:
        header = {"in": "header", "schema": TEXT}
        operation["parameters"] += [
            header | {"name": "Idempotency-Key", "description": "Honoured for 24 hours."},
            header | {"name": "Prefer", "description": _PREFER},
        ]
    return operation


def _with_additions(additions: Mapping[str, str]) -> dict[str, Any]:
    """Return the schema of a ping, including the parameters for raw additions to each provider's message."""
    further = {name: {"type": "object", "description": text} for name, text in additions.items()}
    return PING | {"properties": {**PING["properties"], **further}}


def _line(additions: Mapping[str, str]) -> dict[str, Any]:
    """The schema of one line of a body with many pings."""
    parameters = _with_additions(additions)["properties"]
    ping = {name: kind for name, kind in parameters.items() if name not in NOT_IN_A_LINE}
    return {
        "type": "object",
        "description": "One line; the body has any number of them.",
        "properties": {**ping, "idempotency_key": LINE_KEY},
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
        header = {"schema": TEXT}
        responses["200"] = {
            "description": "The ping is durable. The body is empty. With `explain`: nothing was sent or stored.",
            "content": {"application/json": {"schema": EXPLANATION}},
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
