"""Search for users by the beginning of their login, and the page of a user with the state of each device.

RhoConnect stores all logins in one set without an order. A search therefore reads the set with SSCAN, part by part:
Redis compares a million logins in less than a second, and no part takes it longer than some milliseconds. The page
shows how far the search has come.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from aiohttp import web

from gateway.console.guard import Visit
from gateway.console.pages import Pages
from gateway.errors import NotFound
from gateway.http_api.dependencies import Dependencies
from gateway.http_api.requests import json_response
from gateway.registry import token_marks
from gateway.store import keys
from gateway.store.errors import RedisCommands
from protocols.devices import mask
from protocols.numbers import whole

FOUND_MAX: Final = 50
"""Most users of one answer. The next answer continues the search."""
SCAN_COUNT: Final = 5_000
"""Logins that Redis compares in one step, which takes it about a millisecond."""
STEPS: Final = 20
"""Steps of one answer, after which the page shows the progress."""
PREFIX_CHARACTERS: Final = 255
DEVICES_MAX: Final = 200
"""Most devices of a user that are shown."""
_CURSOR_MAX: Final = 2**64 - 1
_GLOB: Final = str.maketrans({character: f"\\{character}" for character in "*?[]\\^"})
_FIELDS: Final = (
    "rho__id",
    "device_type",
    "device_push_type",
    "device_pin",
    "device_app_id",
    "device_app_version",
    "phone_id",
    "last_sync",
)


class FoundUsers(NamedTuple):
    """A part of the answer to a search.

    Attributes:
        users: logins that begin with the prefix.
        cursor: continues the search; "": it is complete.
        examined: number of logins that this part compared, about.
    """

    users: list[str]
    cursor: str
    examined: int


class UserSearch:
    """Searches the set of logins.

    Args:
        ask: sends commands to RhoConnect's Redis.
    """

    def __init__(self, ask: RedisCommands) -> None:
        self._ask = ask

    async def total(self) -> int:
        """Return the number of users. Raises StoreDown."""
        return int(await self._ask("SCARD", keys.APP_USERS))

    async def part(self, prefix: str, cursor: str) -> FoundUsers:
        """Return the next part of a search; `cursor`: of the part before, "" for the first.

        The user whose whole login is the prefix comes first, without a search. Raises StoreDown.
        """
        users: list[str] = []
        pattern = prefix.translate(_GLOB) + "*"
        if not cursor and prefix and await self._ask("SISMEMBER", keys.APP_USERS, prefix):
            users.append(prefix)
        position, examined = cursor or "0", 0
        for _ in range(STEPS):
            position, found = await self._scan(position, pattern)
            examined += SCAN_COUNT
            users += [login for login in found if login != prefix]
            if position == "0":
                return FoundUsers(users, "", examined)
            if len(users) >= FOUND_MAX:
                break
        return FoundUsers(users, position, examined)

    async def _scan(self, position: str, pattern: str) -> tuple[str, list[str]]:
        following, found = await self._ask(
            "SSCAN", keys.APP_USERS, position, "MATCH", pattern, "COUNT", str(SCAN_COUNT)
        )
        text = following.decode() if isinstance(following, bytes) else str(following)
        return text, [login.decode("utf-8", "replace") for login in found]


class UserPages:
    """The routes of users and devices.

    Args:
        services: the services behind the HTTP API.
        pages: renders them.
    """

    def __init__(self, services: Dependencies, pages: Pages) -> None:
        self._ask = RedisCommands(services.redis)
        self._search = UserSearch(self._ask)
        self._pages = pages

    async def search(self, request: web.Request, visit: Visit) -> web.Response:
        """Return the form of the search, and the first part of the answer."""
        prefix = request.query.get("prefix", "")[:PREFIX_CHARACTERS]
        found = await self._search.part(prefix, _cursor(request))
        return await self._pages.render(
            "users.html", visit=visit, prefix=prefix, found=found, total=await self._search.total()
        )

    async def part(self, request: web.Request, _: Visit) -> web.Response:
        """Return a part of the answer as JSON, for the script of the page."""
        prefix = request.query.get("prefix", "")[:PREFIX_CHARACTERS]
        found = await self._search.part(prefix, _cursor(request))
        return json_response({**found._asdict(), "total": await self._search.total()})

    async def show(self, request: web.Request, visit: Visit) -> web.Response:
        """Return the page of a user."""
        login = request.match_info["user_id"]
        client_ids = await self._ask.texts("SMEMBERS", keys.user(login, "clients"))
        known = await self._ask("EXISTS", keys.user(login, "rho__id"))
        if not known and not client_ids:
            raise NotFound("there is no such user", field="user_id")
        ordered = sorted(client_id for client_id in client_ids if client_id is not None)
        return await self._pages.render(
            "user.html",
            visit=visit,
            login=login,
            devices=await self._devices(ordered[:DEVICES_MAX]),
            total=len(ordered),
        )

    async def _devices(self, client_ids: Sequence[str]) -> list[dict[str, Any]]:
        if not client_ids:
            return []
        names = [
            name
            for client_id in client_ids
            for name in (*(keys.client(client_id, field) for field in _FIELDS), keys.dead(client_id))
        ]
        values = await self._ask("MGET", *names)
        width = len(_FIELDS) + 1
        return [
            device_row(client_id, values[index * width : (index + 1) * width])
            for index, client_id in enumerate(client_ids)
        ]


def device_row(client_id: str, values: Sequence[bytes | None]) -> dict[str, Any]:
    """Return the state of a device.

    Args:
        client_id: id of the client.
        values: the fields of `_FIELDS`, then the mark of its push token.
    """
    texts = ["" if value is None else value.decode("utf-8", "replace") for value in values[:-1]]
    row: dict[str, Any] = dict(zip(_FIELDS, texts, strict=True))
    pin, mark, synced = row.pop("device_pin"), values[-1], values[len(_FIELDS) - 1]
    row |= {"client_id": client_id, "token": mask(pin), "state": "registered", "reason": "", "since_ms": None}
    if not row["rho__id"]:
        row["state"] = "gone"
    elif not pin:
        row["state"] = "no token"
    elif mark is not None and token_marks.interpret(mark, pin, synced):
        facts = token_marks.facts(mark)
        row |= {"state": "dead token", "reason": facts.reason, "since_ms": facts.since_ms}
    return row


def _cursor(request: web.Request) -> str:
    cursor = request.query.get("cursor", "")
    return cursor if whole(cursor, highest=_CURSOR_MAX) is not None else ""
