"""Reasons why Redis cannot be used, as texts for operators and callers. redis-py's texts differ between versions."""

from typing import Final

from redis import sentinel
from redis.asyncio import sentinel as asyncio_sentinel
from redis.exceptions import AuthenticationError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeout

from gateway.system.network_errors import describe

_REFUSALS: Final = {
    "OOM": "is full: it refuses writes until memory is freed (maxmemory)",
    "READONLY": "is a read-only replica: it refuses writes",
    "MISCONF": "refuses writes: it cannot save its data to disk",
    "NOREPLICAS": "refuses writes: it has too few replicas (min-replicas-to-write)",
    "LOADING": "is still loading its data",
    "MASTERDOWN": "is a replica without its master",
    "NOAUTH": "requires a password",
    "WRONGPASS": "refuses the user or password",
    "NOPERM": "does not permit this user a required command (ACL)",
    "max number of clients": "accepts no more connections (maxclients)",
}
"""Error code of Redis -> its text."""
_KINDS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (sentinel.MasterNotFoundError, "has no master of that name"),
    (asyncio_sentinel.MasterNotFoundError, "has no master of that name"),
    (AuthenticationError, "refuses the user or password"),
    (RedisTimeout, "does not answer in time"),
    (TimeoutError, "does not answer in time"),
    (ResponseError, "refuses the command"),
)


def refusal_text(message: str) -> str | None:
    """The text for an error reply of Redis; None: the reply has no known code."""
    return next((plain for code, plain in _REFUSALS.items() if code in message), None)


def refused_text(message: str) -> str:
    """The text of an error reply for a caller: its code, and its explanation if there is one."""
    code, plain = message.partition(" ")[0], refusal_text(message)
    if not (code.isascii() and code.isalpha() and code.isupper()):
        code = "ERR"
    return f"it {plain} ({code})" if plain else f"error {code}"


def error_text(error: Exception) -> str:
    """The text for an error of redis-py or of the connection below it, such as "does not answer in time"."""
    known = refusal_text(str(error)) or next(
        (words for kind, words in _KINDS if isinstance(error, kind)), None
    )
    if known is not None:
        return known
    words = describe(error)
    return "closed the connection" if words == type(error).__name__ else f"cannot be reached ({words})"
