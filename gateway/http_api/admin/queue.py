"""Routes of operators about the queue: its numbers, and the entries that could not be read."""

from typing import Any, Final

import msgspec
from aiohttp import web

from gateway.errors import NotFound, NotStored
from gateway.http_api.admin.admin_route import AdminRoute, Parameters, responds, stores_of
from gateway.http_api.context import HandlerContext
from gateway.http_api.openapi.values import (
    FLAG,
    OPTIONAL_TEXT,
    OPTIONAL_TIME,
    TEXT,
    WHOLE,
    list_of,
    members,
    query,
)
from gateway.http_api.requests import optional_text
from gateway.registry.scopes import Scope

_COUNTS: Final = {"type": "object", "additionalProperties": WHOLE}
_STREAM: Final = members(
    {
        "name": {"type": "string", "enum": ["pings", "retries", "broadcasts", "chunks"]},
        "entries": WHOLE | {"description": "Entries that are not settled."},
        "pending": WHOLE | {"description": "Number of these entries that a worker holds."},
        "oldest_age_s": {"type": ["number", "null"], "description": "null: the stream is empty."},
    }
)
_QUEUE: Final = members(
    {
        "streams": list_of(_STREAM),
        "pings": WHOLE | {"description": "Pings in the queue, without those that wait for a retry alone."},
        "bytes": WHOLE,
        "scheduled_pings": WHOLE | {"description": "Pings that wait for their `deliver_at`."},
        "scheduled_bytes": WHOLE,
        "retries": WHOLE | {"description": "Batches of deliveries that wait for their next attempt."},
        "parked": _COUNTS | {"description": "Deliveries that wait in Redis for a lane, by lane."},
        "receipts": WHOLE,
        "receipt_bytes": WHOLE,
        "unreadable": WHOLE | {"description": "Records of entries that could not be read."},
        "unreadable_bytes": WHOLE,
        "limits": _COUNTS | {"description": "The settings that bound these numbers."},
    }
)
_RECORD: Final[dict[str, Any]] = {
    "record": TEXT | {"description": "Id of the record."},
    "stream": TEXT,
    "entry": TEXT | {"description": "Id that the entry had in its stream."},
    "reason": TEXT,
    "at": OPTIONAL_TIME,
    "age_s": {"type": ["integer", "null"]},
    "bytes": WHOLE,
    "stored": FLAG | {"description": "false: the entry was too long to be stored."},
    "pings": list_of(TEXT) | {"description": "Ids of its pings, where they can be read."},
}
_RECORDS: Final = members(
    {
        "records": list_of(members(_RECORD)),
        "next_cursor": OPTIONAL_TEXT | {"description": "null: there are no more."},
    }
)
_FIELD: Final = members(
    {"name": TEXT, "bytes": WHOLE, "base64": TEXT | {"description": "At most 64 KiB of the value."}}
)
_SHOWN: Final = members({**_RECORD, "clients": list_of(TEXT), "fields": list_of(_FIELD)})
_REQUEUED: Final = members(
    {"record": TEXT, "stream": TEXT, "entry": TEXT | {"description": "The entry's new id."}}
)
_DROPPED: Final = members({"record": TEXT, "dropped": FLAG})
_CURSOR: Final = query("cursor", TEXT, "`next_cursor` of the page before.")
_RECORD_ID: Final = "1896082200000-0"
_EXAMPLE_QUEUE: Final = {
    "streams": [{"name": "pings", "entries": 3, "pending": 2, "oldest_age_s": 0.4}],
    "pings": 3,
    "bytes": 420,
    "scheduled_pings": 0,
    "scheduled_bytes": 0,
    "retries": 0,
    "parked": {"apns:com.example.app": 12},
    "receipts": 100,
    "receipt_bytes": 40_000,
    "unreadable": 0,
    "unreadable_bytes": 0,
    "limits": {"queue_pings": 1_000_000},
}
_EXAMPLE_RECORD: Final = {
    "record": _RECORD_ID,
    "stream": "pings",
    "entry": "1896082100000-0",
    "reason": "not a queue entry",
    "at": "2030-01-31T09:30:00Z",
    "age_s": 60,
    "bytes": 3,
    "stored": True,
    "pings": [],
}
_EXAMPLE_SHOWN: Final = {
    **_EXAMPLE_RECORD,
    "clients": [],
    "fields": [{"name": "e", "bytes": 1, "base64": "wQ=="}],
}


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
            responds(_QUEUE, _EXAMPLE_QUEUE, "The present numbers"),
        ),
        AdminRoute(
            "GET",
            "/queue/unreadable",
            Scope.READ,
            "Entries that no worker could read, the newest first",
            on.unreadable,
            responds(
                _RECORDS,
                {"records": [_EXAMPLE_RECORD], "next_cursor": None},
                "One page",
                parameters=[_CURSOR],
            ),
        ),
        AdminRoute(
            "GET",
            one,
            Scope.READ,
            "One entry that no worker could read, with its fields",
            on.unreadable_one,
            responds(_SHOWN, _EXAMPLE_SHOWN, "The record"),
        ),
        AdminRoute(
            "POST",
            f"{one}/requeue",
            Scope.ADMIN,
            "Append an unreadable entry to its stream again",
            on.requeue,
            responds(
                _REQUEUED,
                {"record": _RECORD_ID, "stream": "pings", "entry": "1896082260000-0"},
                "The entry is queued",
            ),
            errors=(NotFound, NotStored),
        ),
        AdminRoute(
            "DELETE",
            one,
            Scope.ADMIN,
            "Drop an entry that no worker could read",
            on.drop,
            responds(_DROPPED, {"record": _RECORD_ID, "dropped": True}, "The record is removed"),
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
