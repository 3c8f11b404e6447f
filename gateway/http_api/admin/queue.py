"""Routes of operators about the queue: its numbers, and the entries that could not be read."""

from typing import Any, Final

import msgspec
from aiohttp import web

from gateway.http_api.admin.admin_route import AdminRoute, Parameters, json_content, stores_of
from gateway.http_api.context import HandlerContext
from gateway.http_api.requests import optional_text
from gateway.registry.scopes import Scope

_TEXT: Final = {"type": "string"}
_COUNT: Final = {"type": "integer"}
_COUNTS: Final = {"type": "object", "additionalProperties": _COUNT}
_STREAM: Final = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "enum": ["pings", "retries", "broadcasts", "chunks"]},
        "entries": _COUNT | {"description": "Entries that are not settled."},
        "pending": _COUNT | {"description": "Entries of these that a worker holds."},
        "oldest_age_s": {"type": ["number", "null"], "description": "null: the stream is empty."},
    },
}
_QUEUE: Final = {
    "type": "object",
    "properties": {
        "streams": {"type": "array", "items": _STREAM},
        "pings": _COUNT | {"description": "Pings that are accepted and not finished."},
        "bytes": _COUNT,
        "scheduled_pings": _COUNT | {"description": "Pings that wait for their `deliver_at`."},
        "scheduled_bytes": _COUNT,
        "retries": _COUNT | {"description": "Batches of deliveries that wait for their next attempt."},
        "parked": _COUNTS | {"description": "Deliveries that wait in Redis for a lane, by lane."},
        "receipts": _COUNT,
        "receipt_bytes": _COUNT,
        "unreadable": _COUNT | {"description": "Records of entries that could not be read."},
        "unreadable_bytes": _COUNT,
        "limits": _COUNTS | {"description": "The settings that bound these numbers."},
    },
}
_RECORD: Final[dict[str, Any]] = {
    "record": _TEXT | {"description": "Id of the record."},
    "stream": _TEXT,
    "entry": _TEXT | {"description": "Id that the entry had in its stream."},
    "reason": _TEXT,
    "at": {"type": ["string", "null"], "format": "date-time"},
    "age_s": {"type": ["integer", "null"]},
    "bytes": _COUNT,
    "stored": {"type": "boolean", "description": "false: the entry was too long to be stored."},
    "pings": {"type": "array", "items": _TEXT, "description": "Ids of its pings, where they can be read."},
}
_RECORDS: Final = {
    "type": "object",
    "properties": {
        "records": {"type": "array", "items": {"type": "object", "properties": _RECORD}},
        "next_cursor": {"type": ["string", "null"], "description": "null: there are no more."},
    },
}
_FIELD: Final = {
    "type": "object",
    "properties": {"name": _TEXT, "bytes": _COUNT, "base64": _TEXT | {"description": "At most 64 KiB."}},
}
_SHOWN: Final = {
    "type": "object",
    "properties": {
        **_RECORD,
        "clients": {"type": "array", "items": _TEXT},
        "fields": {"type": "array", "items": _FIELD},
    },
}
_REQUEUED: Final = {
    "type": "object",
    "properties": {"record": _TEXT, "stream": _TEXT, "entry": _TEXT | {"description": "The entry's new id."}},
}
_DROPPED: Final = {"type": "object", "properties": {"record": _TEXT, "dropped": {"type": "boolean"}}}
_CURSOR: Final = {
    "in": "query",
    "name": "cursor",
    "schema": _TEXT,
    "description": "`next_cursor` of the page before.",
}
_NOT_FOUND: Final = {"404": {"description": "There is no such record."}}
_NOT_STORED: Final = {"409": {"description": "The entry was too long to be stored."}}


def routes(context: HandlerContext) -> list[AdminRoute]:
    """Return the routes of the queue."""
    on = QueueRoutes(context)
    one = "/queue/unreadable/{record}"
    return [
        AdminRoute(
            "GET",
            "/queue",
            Scope.READ,
            "The queue: streams, backlog, parked deliveries, limits",
            on.show,
            {"responses": json_content(_QUEUE, "The present numbers")},
        ),
        AdminRoute(
            "GET",
            "/queue/unreadable",
            Scope.READ,
            "Entries that no worker could read, the newest first",
            on.unreadable,
            {"parameters": [_CURSOR], "responses": json_content(_RECORDS, "One page")},
        ),
        AdminRoute(
            "GET",
            one,
            Scope.READ,
            "One entry that no worker could read, with its fields",
            on.unreadable_one,
            {"responses": json_content(_SHOWN, "The record") | _NOT_FOUND},
        ),
        AdminRoute(
            "POST",
            f"{one}/requeue",
            Scope.ADMIN,
            "Append an unreadable entry to its stream again",
            on.requeue,
            {"responses": json_content(_REQUEUED, "The entry is queued") | _NOT_FOUND | _NOT_STORED},
        ),
        AdminRoute(
            "DELETE",
            one,
            Scope.ADMIN,
            "Drop an entry that no worker could read",
            on.drop,
            {"responses": json_content(_DROPPED, "The record is removed") | _NOT_FOUND},
        ),
    ]


class QueueRoutes:
    """The routes of the queue.

    Args:
        context: the state shared by the routes.
    """

    def __init__(self, context: HandlerContext) -> None:
        self._context = context

    async def show(self, _request: web.Request, _found: Parameters) -> object:
        """The numbers of the queue, with the limits of the settings."""
        state = await stores_of(self._context).queue.read()
        settings = self._context.services.settings
        limits = {
            name: getattr(settings.limits, name)
            for name in ("queue_pings", "queue_bytes", "scheduled_pings", "scheduled_bytes")
        }
        return msgspec.to_builtins(state) | {
            "limits": limits | {"receipt_bytes": settings.receipts.max_bytes}
        }

    async def unreadable(self, _request: web.Request, found: Parameters) -> object:
        """One page of the records."""
        return await stores_of(self._context).quarantine.page(optional_text(found, "cursor"))

    async def unreadable_one(self, request: web.Request, _found: Parameters) -> object:
        """One record."""
        return await stores_of(self._context).quarantine.show(request.match_info["record"])

    async def requeue(self, request: web.Request, _found: Parameters) -> object:
        """Append the entry of a record again."""
        return await stores_of(self._context).quarantine.requeue(request.match_info["record"])

    async def drop(self, request: web.Request, _found: Parameters) -> object:
        """Remove a record."""
        return await stores_of(self._context).quarantine.drop(request.match_info["record"])
