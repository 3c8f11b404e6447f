"""Why Redis cannot be used, in plain words for operators and callers: redis-py's own differ from version to version."""

from typing import Final

from redis import sentinel
from redis.asyncio import sentinel as asyncio_sentinel
from redis.exceptions import AuthenticationError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeout

from gateway.system.network_errors import describe

_REFUSALS: Final = {
    "OOM": "is full: it refuses writes until it has room (maxmemory)",
    "READONLY": "is a read-only replica: it refuses writes",
    "MISCONF": "refuses writes: it cannot save its data to disk",
    "NOREPLICAS": "refuses writes: too few replicas follow it (min-replicas-to-write)",
    "LOADING": "is still loading its data",
    "MASTERDOWN": "is a replica without its master",
    "NOAUTH": "wants a password",
    "WRONGPASS": "refuses the user or password",
    "NOPERM": "does not allow this user what is needed (ACL)",
    "max number of clients": "takes no more connections (maxclients)",
}
"""What Redis' errors say (its error codes), in plain words."""
_KINDS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (sentinel.MasterNotFoundError, "has no master of that name"),
    (asyncio_sentinel.MasterNotFoundError, "has no master of that name"),
    (AuthenticationError, "refuses the user or password"),
    (RedisTimeout, "does not answer in time"),
    (TimeoutError, "does not answer in time"),
    (ResponseError, "refuses the command"),
)


def refusal_text(message: str) -> str | None:
    """The words for an error reply of Redis; None: it has none of the known codes."""
    return next((plain for code, plain in _REFUSALS.items() if code in message), None)


def refused_text(message: str) -> str:
    """An error reply of Redis for a caller: its code, and the words for it where there are some."""
    code, plain = message.partition(" ")[0], refusal_text(message)
    if not (code.isascii() and code.isalpha() and code.isupper()):
        code = "ERR"
    return f"it {plain} ({code})" if plain else f"error {code}"


def error_text(error: Exception) -> str:
    """The words for an error of redis-py or of the connection below it: "does not answer in time"."""
    known = refusal_text(str(error)) or next(
        (words for kind, words in _KINDS if isinstance(error, kind)), None
    )
    if known is not None:
        return known
    words = describe(error)
    return "closed the connection" if words == type(error).__name__ else f"cannot be reached ({words})"
