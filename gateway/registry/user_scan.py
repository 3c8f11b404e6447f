"""The scan of RhoConnect's set of users, page by page.

The cursor of a scan is meaningful only in the Redis process that returned it: after a restart or a failover the set may
have another order. Each command of a scan therefore travels with a question for the process's run id, on one
connection, and a scan that finds another process restarts.

A user who is in the set from the beginning to the end of a scan is in one of its pages, perhaps in several; a user who
is added or removed meanwhile may be in none (Redis, SCAN).
"""

from typing import Final, NamedTuple

from gateway.errors import StoreDown
from gateway.registry.user_devices import DECODE_ERRORS
from gateway.store import keys
from gateway.store.connection import RedisConnection, RedisReplyError, pack

SCAN_USERS: Final = 800
"""Users of one SSCAN, during which Redis serves no other client for about 0.2 ms."""
_INFO: Final = pack(("INFO", "server"))
_RUN_ID: Final = b"run_id:"


class UserPage(NamedTuple):
    """A part of the users.

    Attributes:
        run_id: the Redis process that was scanned.
        position: the cursor of the next page; 0: this is the last one.
        users: logins, without duplicates.
        restarted: whether the scan restarted, because the given cursor belongs to another process.
    """

    run_id: str
    position: int
    users: list[str]
    restarted: bool = False


class UserScan:
    """Scans the set of users.

    Args:
        connection: to the Redis that holds RhoConnect's users.
    """

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection

    async def count(self) -> int:
        """Number of users. Raises StoreDown."""
        return int(await self._connection.call("SCARD", keys.APP_USERS))

    async def page(self, run_id: str, position: int, least: int) -> UserPage:
        """Read the next users.

        Args:
            run_id, position: of the page before; "" and 0: the first page.
            least: number of users after which a page ends; the last page may have fewer.

        Raises:
            StoreDown: Redis did not answer, or refuses a command.
        """
        users: dict[str, None] = {}
        restarted = False
        while True:
            present, following, part = await self._scan(position)
            if present != run_id:
                restarted = restarted or bool(run_id)
                users.clear()
                run_id = present
                if position:
                    position = 0
                    continue
            users.update(dict.fromkeys(part))
            position = following
            if not position or len(users) >= least:
                return UserPage(run_id, position, list(users), restarted)

    async def _scan(self, position: int) -> tuple[str, int, list[str]]:
        scan = pack(("SSCAN", keys.APP_USERS, position, "COUNT", SCAN_USERS))
        info, reply = await self._connection.send_many([_INFO, scan])
        for one in (info, reply):
            if isinstance(one, RedisReplyError):
                raise one
        following, part = reply
        names = [name.decode("utf-8", DECODE_ERRORS) for name in part]
        return _run_id(info), int(following), names


def _run_id(info: bytes) -> str:
    """The run id in a reply of INFO.

    Raises:
        StoreDown: there is none: the server is no Redis.
    """
    for line in info.splitlines():
        if line.startswith(_RUN_ID):
            return line[len(_RUN_ID) :].decode("ascii", "replace").strip()
    raise StoreDown("the reply of INFO has no run_id")
