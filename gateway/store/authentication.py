"""AUTH with credentials that do not match the server's configuration, handled as in redis-rb 4, which RhoConnect
uses.

| Redis answers | the gateway tries | source |
| --- | --- | --- |
| WRONGPASS to a user and a password | the password alone: hosters invent a user name | redis-rb 4, client.rb |
| wrong number of arguments for 'auth' | the password alone: Redis before 6 has no users | redis-rb 4, client.rb |
| no password is set, and the address names no user | no AUTH: the server accepts every client | |

Each case is logged as a warning, once for each address. If the password alone is refused too, the connection fails
as in redis-rb: with WRONGPASS if Redis answered that first, and also if the default user has no password. A
connection for an address that names a user never becomes a connection of a default user without a password.
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
    """Whether AUTH with a user and a password failed in a way that makes a try with the password alone useful."""
    folded = words.replace("'AUTH'", "'auth'")
    return any(part in folded for part in _ALONE)


def wrong_login(words: str) -> bool:
    """Whether the server supports users and refuses this user or its password."""
    return "WRONGPASS" in words


def needs_none(words: str) -> bool:
    """Whether AUTH with a password failed because the server has no password."""
    return any(part in words for part in _OPEN)


def worth_a_try(address: RedisAddress, words: str) -> RedisAddress | None:
    """The address without the credential that Redis refused at AUTH; None if another try would not help or is not
    allowed."""
    if address.password is None:
        return None
    if address.username:
        return msgspec.structs.replace(address, username=None) if password_alone(words) else None
    return msgspec.structs.replace(address, password=None) if needs_none(words) else None


def warn_user_ignored(address: RedisAddress | None, user: str) -> None:
    """Log that the server refuses this user but accepts the password alone."""
    if _first(address, user):
        _log.warning(
            "redis_user_ignored",
            redis=str(address),
            user=user,
            advice="Redis has no such user with this password; the password matches the default user. "
            "Remove the user from the address",
        )


def warn_no_password(address: RedisAddress | None) -> None:
    """Log that the address has a password but the server requires none."""
    if _first(address, ""):
        _log.warning(
            "redis_password_ignored",
            redis=str(address),
            advice="the address has a password, but this Redis accepts every client without one",
        )


def _first(address: RedisAddress | None, user: str) -> bool:
    key = (str(address), user)
    first = key not in _warned
    _warned.add(key)
    return first
