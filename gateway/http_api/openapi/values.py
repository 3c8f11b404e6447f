"""Schemas of single values, and the parts of which operations are made.

JSON objects of responses are typed dictionaries; their schemas are derived from these types.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final

from gateway.registry.accounts import LOGIN
from gateway.registry.clients import CLIENT_ID
from protocols.ping.fields import EPOCH_S_MAX

Part = dict[str, Any]
"""A part of the document."""

TEXT: Final[Part] = {"type": "string"}
WHOLE: Final[Part] = {"type": "integer"}
FLAG: Final[Part] = {"type": "boolean"}
OPTIONAL_TEXT: Final[Part] = {"type": ["string", "null"]}
TIME: Final[Part] = {**TEXT, "format": "date-time"}
OPTIONAL_TIME: Final[Part] = {**OPTIONAL_TEXT, "format": "date-time"}
INSTANT: Final[Part] = {"oneOf": [TIME, {"type": "number", "minimum": 0, "maximum": EPOCH_S_MAX}]}
"""A time that a caller gives in a body: RFC 3339 with a zone, or seconds since 1970."""
QUERY_INSTANT: Final[Part] = {"oneOf": [TIME, {**WHOLE, "minimum": 0, "maximum": EPOCH_S_MAX}]}
"""A time that a caller gives in a query: RFC 3339 with a zone, or whole seconds since 1970."""

JSON: Final = "application/json"
FORM: Final = "application/x-www-form-urlencoded"
NDJSON: Final = "application/x-ndjson"
HTML: Final = "text/html"
PLAIN: Final = "text/plain"

_ID: Final = "0123456789abcdef0123456789ab0000"


def names(characters: int) -> Part:
    """Return the schema of one name or a list of names, each of at most `characters` characters."""
    name = {**TEXT, "maxLength": characters}
    return {"oneOf": [name, {"type": "array", "items": name}]}


def members(properties: Mapping[str, Part], optional: Collection[str] = ()) -> Part:
    """Return the schema of an object of a response.

    Args:
        properties: schemas of its members.
        optional: names of members that it may lack.
    """
    required = [name for name in properties if name not in optional]
    return {"type": "object", "required": required, "properties": dict(properties)}


def list_of(items: Part) -> Part:
    """Return the schema of a list."""
    return {"type": "array", "items": items}


def reference(name: str) -> Part:
    """Return a reference to a schema of the document's components."""
    return {"$ref": f"#/components/schemas/{name}"}


def json_body(schema: Part, example: object, *, form: bool = True, required: bool = True) -> Part:
    """Return the member `requestBody` of an operation.

    Args:
        schema: of the body.
        example: of the body.
        form: whether a form with the same parameters is accepted too; its lists and objects have names with brackets.
        required: whether the request must have a body.
    """
    content: Part = {JSON: {"schema": schema, "example": example}}
    if form:
        objects = [name for name, part in schema["properties"].items() if part.get("type") == "object"]
        content[FORM] = {"schema": schema} | (
            {"encoding": {name: {"style": "deepObject", "explode": True} for name in objects}}
            if objects
            else {}
        )
    return {"content": content, "required": required}


def json_answer(schema: Part, example: object, text: str, headers: Mapping[str, Part] = {}) -> Part:
    """Return a response with a JSON body."""
    found: Part = {"description": text, "content": {JSON: {"schema": schema, "example": example}}}
    return {**found, "headers": dict(headers)} if headers else found


def html_json_answer(schema: Part, example: str, text: str) -> Part:
    """Return a response with JSON whose Content-Type is that of HTML, as RhoConnect sends it (contract §2)."""
    inside = {**TEXT, "contentMediaType": JSON, "contentSchema": schema}
    return {"description": text, "content": {HTML: {"schema": inside, "example": example}}}


def text_answer(example: str, text: str, media_type: str = HTML) -> Part:
    """Return a response with a text as its body."""
    return {"description": text, "content": {media_type: {"schema": TEXT, "example": example}}}


def answer(response: Part, **members: Any) -> Mapping[str, Any]:
    """Return the own members of an operation whose success is this response with the status 200."""
    return {**members, "responses": {"200": response}}


def header(text: str, schema: Part = TEXT) -> Part:
    """Return a header of a response."""
    return {"description": text, "schema": schema}


def query(name: str, schema: Part, text: str) -> Part:
    """Return a parameter of the query."""
    return {"in": "query", "name": name, "schema": schema, "description": text}


def request_header(name: str, text: str, schema: Part = TEXT) -> Part:
    """Return a parameter in a header of the request."""
    return {"in": "header", "name": name, "schema": schema, "description": text}


CLIENT_ID_TEXT: Final[Part] = {**TEXT, "pattern": f"^{CLIENT_ID.pattern}$"}
LOGIN_TEXT: Final[Part] = {**TEXT, "pattern": f"^{LOGIN.pattern}$"}
PATH_PARAMETERS: Final[Mapping[str, Part]] = {"client_id": CLIENT_ID_TEXT}
"""Schemas of the parameters of paths that are not any text."""
PING_ID: Final[Part] = {**TEXT, "pattern": "^[0-9a-f]{32}$", "example": _ID}
EXAMPLE_ID: Final = _ID
