"""Schemas of the list of pings and of readiness."""

from typing import Any, Final

from gateway.http_api.openapi.values import TEXT

READINESS: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["ready", "missing"],
    "properties": {
        "ready": {"type": "boolean"},
        "missing": {"type": "object", "additionalProperties": TEXT},
    },
}
STATES: Final = ("queued", "open", "done")
COUNT_MAP: Final[dict[str, Any]] = {
    "type": "object",
    "description": "Devices by verdict. A ping that is queued has none.",
    "additionalProperties": {"type": "integer"},
}
PAGE: Final[dict[str, Any]] = {
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
                    "ping_id": TEXT,
                    "state": {"type": "string", "enum": [*STATES]},
                    "accepted_at": {"type": ["string", "null"], "format": "date-time"},
                    "ingress": {"type": ["string", "null"], "description": "null: not stored any more."},
                    "counts": COUNT_MAP,
                },
            },
        },
        "next_cursor": {"type": ["string", "null"], "description": "null: there are no more pings."},
    },
}
LIST_PARAMETERS: Final = [
    {"in": "query", "name": "state", "schema": {"type": "string", "enum": [*STATES]}},
    {
        "in": "query",
        "name": "limit",
        "schema": {"type": "integer", "minimum": 1, "maximum": 500, "default": 50},
    },
    {
        "in": "query",
        "name": "cursor",
        "schema": TEXT,
        "description": "`next_cursor` of the page before.",
    },
]
