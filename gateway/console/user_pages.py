"""Search for users by the beginning of their login, and the page of a user with the state of each device.

RhoConnect stores all logins in one set without an order. A search therefore reads the set with SSCAN, part by part:
Redis compares a million logins in less than a second, and no part takes it longer than some milliseconds. The page
shows how far the search has come.
"""

from typing import Final, NamedTuple
from urllib.parse import quote

from aiohttp import web

from gateway.console.guard import Form, Visit, redirect, text_field
from gateway.console.page_set import PageSet
from gateway.console.pages import Pages
from gateway.errors import NotFound
from gateway.fanout.device_report import DEVICES_MAX
from gateway.http_api.admin.admin_route import SUBJECT
from gateway.http_api.context import HandlerContext
from gateway.http_api.operator_stores import OperatorStores
from gateway.http_api.requests import json_response
from gateway.registry.dead_marks import DeadFilter
from gateway.store import keys
from gateway.store.errors import RedisCommands
from protocols.errors import BodyTooLarge
from protocols.numbers import whole

FOUND_MAX: Final = 50
"""Most users of one answer. The next answer continues the search."""
SCAN_COUNTS: Final = (100, 400, 1_600, 5_000)
"""Logins that Redis compares in the first steps of an answer and in each further one. The first steps are small, so
that a frequent prefix finds some dozens of users and not thousands; 5,000 take Redis about a millisecond."""
STEPS: Final = 20
"""Steps of one answer, after which the page shows the progress."""
PREFIX_CHARACTERS: Final = 255
_CURSOR_MAX: Final = 2**64 - 1
_GLOB: Final = str.maketrans({character: f"\\{character}" for character in "*?[]\\^"})


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
        for step in range(STEPS):
            count = SCAN_COUNTS[min(step, len(SCAN_COUNTS) - 1)]
            position, found = await self._scan(position, pattern, count)
            examined += count
            users += [login for login in found if login != prefix]
            if position == "0":
                return FoundUsers(users, "", examined)
            if len(users) >= FOUND_MAX:
                break
        return FoundUsers(users, position, examined)

    async def _scan(self, position: str, pattern: str, count: int) -> tuple[str, list[str]]:
        following, found = await self._ask(
            "SSCAN", keys.APP_USERS, position, "MATCH", pattern, "COUNT", str(count)
        )
        text = following.decode() if isinstance(following, bytes) else str(following)
        return text, [login.decode("utf-8", "replace") for login in found]


class UserPages(PageSet):
    """The routes of users and devices.

    Args:
        context: the state shared by the routes.
        pages: renders them.
    """

    def __init__(self, context: HandlerContext, pages: Pages) -> None:
        super().__init__(context, pages)
        self._ask = RedisCommands(context.services.redis)
        self._search = UserSearch(self._ask)

    @property
    def _operators(self) -> OperatorStores:
        operators = self._services.operators
        if operators is None:
            raise NotFound("this process does not serve the routes of operators")
        return operators

    async def search(self, request: web.Request, visit: Visit) -> web.Response:
        """Return the form of the search, and the first part of the answer."""
        prefix = request.query.get("prefix", "")[:PREFIX_CHARACTERS]
        found = await self._search.part(prefix, _cursor(request))
        return await self.page(
            "users.html", visit, prefix=prefix, found=found, total=await self._search.total()
        )

    async def part(self, request: web.Request, _: Visit) -> web.Response:
        """Return a part of the answer as JSON, for the script of the page."""
        prefix = request.query.get("prefix", "")[:PREFIX_CHARACTERS]
        found = await self._search.part(prefix, _cursor(request))
        return json_response({**found._asdict(), "total": await self._search.total()})

    async def show(self, request: web.Request, visit: Visit) -> web.Response:
        """Return the page of a user, with the state of each device."""
        login = request.match_info["user_id"]
        try:
            devices = await self._operators.device_reports.of_user(login)
        except BodyTooLarge:
            error = BodyTooLarge(
                f"the user has more than {DEVICES_MAX:,} devices: this page does not show them"
            )
            return await self.page("user.html", visit, login=login, devices=(), error=error)
        if not devices and not await self._ask("EXISTS", keys.user(login, "rho__id")):
            raise NotFound("there is no such user", field="user_id")
        return await self.page("user.html", visit, login=login, devices=devices)

    async def restore(self, request: web.Request, visit: Visit, form: Form) -> web.Response:
        """Remove the mark of a dead token, so that the next ping reaches the device."""
        login, client_id = request.match_info["user_id"], text_field(form, "client_id")
        request[SUBJECT] = client_id
        await self._operators.dead_marks.restore_devices([client_id], DeadFilter())
        await self.audit(request, visit, f"/users/restore {client_id}")
        return redirect(f"/console/users/{quote(login, safe='')}")


def _cursor(request: web.Request) -> str:
    cursor = request.query.get("cursor", "")
    return cursor if whole(cursor, highest=_CURSOR_MAX) is not None else ""
