"""The document: the operations of all routes, the schemas to which they refer, and the ways to authenticate."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from gateway.http_api.openapi import ping, process, registry, reports
from gateway.http_api.openapi.errors import Errors, errors_of, refusals
from gateway.http_api.openapi.values import PATH_PARAMETERS, TEXT, Part, header
from gateway.http_api.responses import ErrorBody
from gateway.http_api.sessions import COOKIE

_PART: Final = re.compile(r"{(\w+)}")
_WORD: Final = re.compile(r"[0-9A-Za-z]+")
_PREFIX: Final = "/rc/v1/"
_FORMS: Final = (ErrorBody, *reports.FORMS, *ping.FORMS, *registry.FORMS, *process.FORMS)
_WHO: Final[dict[str, list[dict[str, list[str]]]]] = {
    "anyone": [],
    "login": [],
    "token": [{"token": []}, {"parameter": []}],
    "header": [{"token": []}],
    "operator": [{"token": []}, {"parameter": []}, {"session": []}],
    "device": [{"session": []}, {"token": []}],
    "session": [{"session": []}],
}
_SECURITY: Final[dict[str, Part]] = {
    "token": {"type": "apiKey", "in": "header", "name": "X-RhoConnect-API-TOKEN"},
    "parameter": {"type": "apiKey", "in": "query", "name": "api_token"},
    "session": {"type": "apiKey", "in": "cookie", "name": COOKIE},
    "basic": {"type": "http", "scheme": "basic"},
}
_SEGMENT: Final[Part] = {**TEXT, "minLength": 1}
_WARNING: Final = header("Recommends the present route (RFC 7234 §5.5).")
_NO_ADDITIONS: Final[Mapping[str, str]] = {}


class DescribedRoute(NamedTuple):
    """A route as far as the document describes it; the attributes are those of `HttpRoute`."""

    method: str
    path: str
    who: str
    summary: str
    operation: Mapping[str, Any] = {}
    errors: Errors = ()
    deprecated: bool = False


def describe(
    routes: Iterable[DescribedRoute],
    additions: Mapping[str, str] = _NO_ADDITIONS,
    providers: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the OpenAPI document.

    Args:
        routes: the routes.
        additions: parameters with raw additions to one provider's message, and their descriptions.
        providers: names of the installed providers.
    """
    paths: dict[str, dict[str, Any]] = {}
    refused: dict[str, Part] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, refused)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Rho Push Gateway", "version": "1"},
        "paths": paths,
        "components": {
            "schemas": {**_derived(), **ping.schemas(additions, providers)},
            "responses": dict(sorted(refused.items())),
            "securitySchemes": _SECURITY,
        },
    }


def _operation(route: DescribedRoute, refused: dict[str, Part]) -> dict[str, Any]:
    """Return the operation of a route: the members that all routes have, and those that it describes itself.

    Args:
        route: the route.
        refused: the shared responses to errors by name; those of the route are added.
    """
    own = route.operation
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": PATH_PARAMETERS.get(name, _SEGMENT)}
        for name in _PART.findall(route.path)
    ]
    operation: dict[str, Any] = {
        "operationId": _operation_id(route.method, route.path),
        "summary": route.summary,
        "security": _WHO[route.who],
        **own,
        "parameters": [*in_path, *own.get("parameters", ())],
        "responses": _responses(route, refused),
    }
    if route.deprecated:
        operation["deprecated"] = True
    return operation


def _responses(route: DescribedRoute, refused: dict[str, Part]) -> dict[str, Part]:
    """Return the responses by status: those of errors, and those that the route describes itself."""
    own = route.operation.get("responses", {})
    success = {} if any(status.startswith("2") for status in own) else {"200": {"description": "Done"}}
    found: dict[str, Part] = {**success, **own}
    for status, refusal in refusals((*errors_of(route.path, route.who), *route.errors)).items():
        if status not in own:
            refused[refusal.name] = refusal.response
            found[status] = {"$ref": f"#/components/responses/{refusal.name}"}
    if route.deprecated:
        found = {
            status: {**part, "headers": {**part.get("headers", {}), "Warning": _WARNING}}
            if status.startswith("2")
            else part
            for status, part in found.items()
        }
    return dict(sorted(found.items()))


def _operation_id(method: str, path: str) -> str:
    """Return a name for generated clients: `getUsersByUserId` for `GET /rc/v1/users/{user_id}`."""
    parts = []
    for segment in path.removeprefix(_PREFIX).replace("%20", " space").split("/"):
        words = "".join(word.capitalize() for word in _WORD.findall(segment.replace("_", " ")))
        parts.append(f"By{words}" if segment.startswith("{") else words)
    return method.lower() + "".join(parts) + ("Slash" if path.endswith("/") else "")


def _derived() -> dict[str, Part]:
    """Return the schemas of the typed dictionaries of responses."""
    _, schemas = msgspec.json.schema_components(_FORMS, ref_template="#/components/schemas/{name}")
    return {name: _plain(schema) for name, schema in schemas.items()}


def _plain(schema: Any) -> Any:
    """Return a schema without titles, and with the type of enumerated texts, which generators of clients need."""
    if isinstance(schema, list):
        return [_plain(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _plain(part) for name, part in schema.items() if name != "title"}
    if "enum" in found and all(isinstance(value, str) for value in found["enum"]):
        found["type"] = "string"
    return found
