"""Schemas of errors."""

from typing import Any, Final

from gateway.http_api.openapi.values import TEXT

ERROR: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "field"],
            "properties": {"code": TEXT, "message": TEXT, "field": {"type": ["string", "null"]}},
        }
    },
}
