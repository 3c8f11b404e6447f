"""The audit: who changed something on the routes of operators, logged in, or reloaded the settings, and the outcome.

The records are a stream in the queue's Redis, to which every gateway appends. Its size is bounded: it has at most
`keys.AUDIT_MAX` records of at most `keys.AUDIT_RECORD_BYTES` each, and the oldest are dropped first. A record never
contains a secret: the only values in it are names, ids and codes.

An action is not refused because its record cannot be written: the log event `audit_record_lost` then has the record.
"""

import base64
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec
import structlog
from redis.asyncio import Redis

from gateway.errors import StoreDown
from gateway.registry.scopes import API_TOKEN, Principal
from gateway.store import keys
from gateway.store.errors import RedisCommands
from gateway.store.pages import page_size
from protocols.errors import InvalidField
from protocols.instants import instant_text
from protocols.numbers import stored

_log = structlog.get_logger("audit")

DONE: Final = "done"
"""Outcome of an action that succeeded. Every other outcome is the code of an error."""
LIMIT: Final = 100
LIMIT_MAX: Final = 500
REFUSED_LOGINS_OF_CLIENT: Final = 5
"""Most refused logins of one client that one process records in `_WINDOW_S`."""
REFUSED_LOGINS: Final = 60
"""Most refused logins of all clients that one process records in `_WINDOW_S`."""
_WINDOW_S: Final = 60.0
_CLIENTS_MAX: Final = 4_096
_TEXT_CHARACTERS: Final = 100
"""Longest text of a record; five such texts, of four bytes a character, fit into `keys.AUDIT_RECORD_BYTES`."""
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_POSITION: Final = re.compile(r"(?!0+-0+$)[0-9]{1,15}-[0-9]{1,15}")
_MS_MAX: Final = 10**15


class AuditRecord(NamedTuple):
    """One record.

    Attributes:
        kind: `api_token`, `token` (a named token), `login`, or `gateway` (the gateway itself).
        who: name of the token or login.
        client: address of the client; "" if there is none.
        action: method and path of a route, `login`, or `settings reload`.
        outcome: `DONE`, or the code of an error.
        omitted: number of refused logins before this one that were not recorded.
    """

    kind: str
    who: str
    client: str
    action: str
    outcome: str
    omitted: int = 0

    @classmethod
    def of(cls, principal: Principal, client: str, action: str, outcome: str) -> "AuditRecord":
        """Return the record of an authenticated caller's action."""
        kind = "token" if principal.fingerprint else "login"
        return cls("api_token" if principal is API_TOKEN else kind, principal.name, client, action, outcome)


class RefusedLogins:
    """Bounds the records of refused logins in time: a flood of them must not drop the other records.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = clock()
        self._total = 0
        self._clients: OrderedDict[str, int] = OrderedDict()
        self._omitted = 0

    def take(self, client: str) -> int | None:
        """Return the number of refusals that were omitted before this one; None: omit this one too."""
        now = self._clock()
        if now - self._since >= _WINDOW_S:
            self._since, self._total = now, 0
            self._clients.clear()
        count = self._clients.pop(client, 0)
        if len(self._clients) >= _CLIENTS_MAX:
            self._clients.popitem(last=False)
        self._clients[client] = count + 1
        if count >= REFUSED_LOGINS_OF_CLIENT or self._total >= REFUSED_LOGINS:
            self._omitted += 1
            return None
        self._total += 1
        omitted, self._omitted = self._omitted, 0
        return omitted


class AuditLog:
    """Appends records and reads them.

    Args:
        redis: a client of the queue's Redis, with replies as bytes.
    """

    def __init__(self, redis: Redis) -> None:
        self._ask = RedisCommands(redis)
        self._refused_logins = RefusedLogins()

    async def record(self, record: AuditRecord) -> None:
        """Append a record. If Redis does not accept it, it is logged, and no error is raised."""
        fields: dict[str, str | int] = {
            name: _shown(value) if isinstance(value, str) else value
            for name, value in record._asdict().items()
            if value
        }
        text = msgspec.json.encode(fields).decode()
        try:
            await self._ask("XADD", keys.AUDIT, "MAXLEN", str(keys.AUDIT_MAX), "*", "r", text)
        except StoreDown as error:
            _log.warning("audit_record_lost", error=error.message, **fields)

    async def record_login(self, login: str, client: str, outcome: str, *, group: str = "") -> None:
        """Append a record of a login. Refused logins beyond `REFUSED_LOGINS_OF_CLIENT` are counted, not recorded.

        Args:
            login: the name that the caller gave; it may be invented.
            client: address of the client.
            outcome: `DONE`, or the code of the error.
            group: the client to which the address counts (`address_group`); "": the address.
        """
        omitted = 0 if outcome == DONE else self._refused_logins.take(group or client)
        if omitted is not None:
            await self.record(AuditRecord("login", login, client, "login", outcome, omitted))

    async def page(
        self, since_ms: int | None = None, cursor: str | None = None, limit: object = None
    ) -> dict[str, Any]:
        """Return one page, the newest record first: `records`, and `next_cursor` (None: there are no more).

        Args:
            since_ms: only records from this instant on, epoch ms.
            cursor: the `next_cursor` of the page before.
            limit: most records of the page.

        Raises:
            InvalidField: a parameter has no valid value.
            StoreDown: Redis does not answer.
        """
        number = page_size(limit, LIMIT, LIMIT_MAX)
        newest = "+" if cursor is None else "(" + _parse_cursor(cursor)
        oldest = "-" if since_ms is None else str(min(max(since_ms, 0), _MS_MAX))
        found = await self._ask("XREVRANGE", keys.AUDIT, newest, oldest, "COUNT", str(number + 1))
        records = [_listed(entry, fields) for entry, fields in found[:number]]
        more = len(found) > number
        return {"records": records, "next_cursor": _cursor(found[number - 1][0]) if more else None}


def _shown(text: str) -> str:
    """Return a text of a caller without control characters, shortened."""
    return _UNPRINTABLE.sub("?", text[:_TEXT_CHARACTERS])


def _listed(entry: bytes, fields: dict[bytes, bytes]) -> dict[str, Any]:
    at_ms = stored(entry.partition(b"-")[0])
    try:
        record = msgspec.json.decode(fields.get(b"r", b"{}"), type=dict[str, str | int])
    except (msgspec.MsgspecError, UnicodeError):
        record = {"outcome": "unreadable"}
    texts = {name: record.get(name, "") for name in ("kind", "who", "client", "action", "outcome")}
    return {
        "at": instant_text(at_ms),
        **texts,
        "omitted": record.get("omitted", 0),
    }


def _cursor(entry: bytes) -> str:
    return base64.urlsafe_b64encode(entry).decode().rstrip("=")


def _parse_cursor(cursor: str) -> str:
    try:
        position = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True).decode()
    except ValueError:
        position = ""
    if not _POSITION.fullmatch(position):
        raise InvalidField("cursor must be the next_cursor of an earlier page", field="cursor")
    return position
