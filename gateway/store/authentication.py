"""AUTH with credentials that do not quite fit the server: as redis-rb 4 does it, which RhoConnect uses.

| Redis says | what is tried | source |
| --- | --- | --- |
| WRONGPASS to a user and a password | the password alone: hosters make a user up | redis-rb 4, client.rb |
| wrong number of arguments for 'auth' | the password alone: Redis before 6 has no users | redis-rb 4, client.rb |
| no password is set, and the address names no user | nothing: the server lets everybody in | |

Each is a warning in the log, once for each address. Where the password alone is refused too, the connection fails as in
redis-rb: with WRONGPASS where Redis said that first, and also where the default user has no password. An address that
names a user never becomes a connection of a default user that anybody may be.
"""

from typing import Final

import msgspec
import structlog

from gateway.store.address import RedisAddress

_log = structlog.get_logger("store")

_ALONE: Final = ("WRONGPASS", "wrong number of arguments for 'auth'")
_OPEN: Final = ("called without any password configured", "but no password is set")

_warned: set[tuple[str, str]] = set()


def password_alone(words: str) -> bool:
    """Whether AUTH with a user and a password failed so that the password alone is worth a try."""
    folded = words.replace("'AUTH'", "'auth'")
    return any(part in folded for part in _ALONE)


def wrong_login(words: str) -> bool:
    """Whether the server has users, and refuses this one or its password."""
    return "WRONGPASS" in words


def needs_none(words: str) -> bool:
    """Whether AUTH with a password failed because the server has none."""
    return any(part in words for part in _OPEN)


def worth_a_try(address: RedisAddress, words: str) -> RedisAddress | None:
    """The address without what Redis refused at AUTH; None: that would not help, or is not to be tried."""
    if address.password is None:
        return None
    if address.username:
        return msgspec.structs.replace(address, username=None) if password_alone(words) else None
    return msgspec.structs.replace(address, password=None) if needs_none(words) else None


def warn_user_ignored(address: RedisAddress | None, user: str) -> None:
    """The server does not accept this user, and accepts the password alone."""
    if _first(address, user):
        _log.warning(
            "redis_user_ignored",
            redis=str(address),
            user=user,
            advice="Redis does not have this user with this password; the password of the default user fits. "
            "Remove the user from the address",
        )


def warn_no_password(address: RedisAddress | None) -> None:
    """The address has a password, and the server has none."""
    if _first(address, ""):
        _log.warning(
            "redis_password_ignored",
            redis=str(address),
            advice="the address has a password, but this Redis lets every client in without one",
        )


def _first(address: RedisAddress | None, user: str) -> bool:
    key = (str(address), user)
    first = key not in _warned
    _warned.add(key)
    return first
