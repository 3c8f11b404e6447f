"""Schemas of a ping: its parameters, a line of a body with many pings, the answers to lines, an explained ping."""

from typing import Any, Final

from gateway.http_api.openapi.values import COUNT, COUNTS, NAMES, NUMBER, TEXT

PING: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "user_id": NAMES | {"description": "One login, or a list of logins."},
        "sources": NAMES | {"description": "Sources to sync: a name, names with commas, a list, or `all`."},
        "source_id": NAMES | {"description": "Sources to sync if `sources` is absent."},
        "message": {"description": "The alert: text; any JSON for RhoConnect Push devices."},
        "title": TEXT | {"description": "The alert's title."},
        "badge": NUMBER | {"description": "Number on the icon; 0 clears it."},
        "sound": TEXT | {"description": "A sound file's name."},
        "vibrate": NUMBER | {"description": "Milliseconds."},
        "async": {"description": "Accepted without effect: every ping is queued before the response."},
        "wait": {"type": "boolean", "description": "Respond once every device has its verdict."},
        "ttl_s": NUMBER | {"description": "Time to live, seconds."},
        "priority": {"type": "string", "enum": ["high", "normal"]},
        "collapse_id": TEXT | {"description": "At most 64 bytes; a later push with it replaces this one."},
        "explain": {
            "type": "boolean",
            "description": "Send and store nothing; answer what the ping would do.",
        },
        "validate": {"type": "boolean", "description": "With `explain`: let FCM check each message."},
        "deliver_at": {"type": ["string", "number"]}
        | {"description": "Deliver from this time on: RFC 3339 with a zone, or seconds since 1970."},
        "api_token": TEXT | {"description": "For clients that cannot set the header."},
    },
}
NOT_IN_A_LINE: Final = ("wait", "explain", "validate", "api_token")
LINE_KEY: Final = TEXT | {
    "description": "1 to 255 visible ASCII characters, honoured for 24 hours as Idempotency-Key is."
}
LINE_ERROR: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["error", "line"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "field"],
            "properties": {
                "code": TEXT,
                "message": TEXT,
                "field": {"type": ["string", "null"]},
                "retry_after_s": {
                    "type": "integer",
                    "description": "Seconds after which the line may be retried; absent: the line must change.",
                },
            },
        },
        "line": {"type": "integer", "description": "The line's number, from 1; blank lines count."},
        "ping_id": TEXT | {"description": "With `possibly_accepted`: the ping's id."},
        "resume_from": {
            "type": "integer",
            "description": "In the last line of an interrupted request: neither this line nor a later one was read.",
        },
    },
}
LINE_ANSWER: Final[dict[str, Any]] = {
    "oneOf": [
        {
            "type": "object",
            "required": ["ping_id"],
            "properties": {
                "ping_id": TEXT,
                "warning": TEXT | {"description": "Unknown parameters, as in X-Ping-Warning."},
            },
        },
        LINE_ERROR,
    ]
}
SUMMARY: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["accepted", "refused", "errors"],
    "properties": {
        "accepted": {"type": "integer"},
        "refused": {"type": "integer"},
        "errors": {"type": "array", "maxItems": 100, "items": LINE_ERROR},
    },
}
EXPLAINED_DEVICE: Final[dict[str, Any]] = {
    "client_id": TEXT,
    "user_id": TEXT,
    "provider": TEXT,
    "app": TEXT,
    "token": TEXT | {"description": "The first characters of the push token, and its length."},
}
VALIDATION: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["verdict", "reason"],
    "properties": {
        "verdict": {
            "type": "string",
            "enum": ["accepted", "rejected", "retry_later", "unknown", "not_available"],
        },
        "reason": TEXT,
    },
}
EXPLANATION: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["devices", "left_out", "unknown_users", "totals"],
    "properties": {
        "devices": {
            "type": "array",
            "items": {
                "type": "object",
                "required": [*EXPLAINED_DEVICE, "lane", "host", "path", "headers", "payload", "bytes"],
                "properties": {
                    **EXPLAINED_DEVICE,
                    "lane": TEXT,
                    "host": TEXT | {"description": "Empty: the gateway itself is the service."},
                    "path": TEXT,
                    "headers": {"type": "object", "additionalProperties": TEXT},
                    "payload": {"description": "The body of the request; null where it is not JSON."},
                    "bytes": COUNT,
                    "note": TEXT | {"description": "Why the lane cannot send now; it is no exclusion."},
                    "validation": VALIDATION,
                },
            },
        },
        "left_out": {
            "type": "array",
            "items": {
                "type": "object",
                "required": [*EXPLAINED_DEVICE, "reason", "text"],
                "properties": {
                    **EXPLAINED_DEVICE,
                    "reason": TEXT | {"description": "Code, as in the receipt of a ping."},
                    "text": TEXT | {"description": "The reason in words."},
                    "same_as": TEXT | {"description": "`repeated`: the client that the ping reaches."},
                    "provider_reason": TEXT,
                    "since": TEXT | {"description": "`dead_token`: time of the mark (RFC 3339)."},
                },
            },
        },
        "unknown_users": {"type": "array", "items": TEXT},
        "totals": {
            "type": "object",
            "properties": {
                **dict.fromkeys(("users", "unknown_users", "devices", "left_out", "bytes"), COUNT),
                "by_provider": COUNTS,
                "by_reason": COUNTS,
            },
        },
    },
}
