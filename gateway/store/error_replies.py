"""Classification of Redis' errors, and their text in responses and logs.

A refusal is lasting if the same command gets the same error until an operator changes something. Other errors (a
full Redis, a replica, a Redis that loads its data) end without intervention; `gateway.store.health` describes those.
"""

import re
import time
from collections.abc import Callable
from typing import Final

import structlog
from redis.exceptions import RedisError, ResponseError

from gateway.errors import StoreDown, StoreRefused
from gateway.store.error_text import refused_text

_log = structlog.get_logger("store")

_CLUSTER: Final = "Redis runs in cluster mode"
_NO_PERMISSION: Final = "a permission is missing (ACL SETUSER)"
_NO_COMMAND: Final = "the command does not exist or is renamed"
LASTING_ERRORS: Final = {
    "NOPERM": _NO_PERMISSION,
    "The user executing the script can't": _NO_PERMISSION,
    "ACL failure in script": _NO_PERMISSION,
    "insufficient ACL permissions": _NO_PERMISSION,
    "NOAUTH": "a password is required",
    "WRONGPASS": "the user or the password is wrong",
    "invalid password": "the password is wrong",
    "but no password is set": "the address names a user, but Redis before 6 has no users",
    "DENIED": "protected mode refuses other machines",
    "unknown command": _NO_COMMAND,
    "Unknown Redis command": _NO_COMMAND,
    "Unknown command": _NO_COMMAND,
    "unknown subcommand": "the subcommand does not exist",
    "not allowed from script": "the command is not allowed in scripts",
    "CROSSSLOT": _CLUSTER,
    "MOVED": _CLUSTER,
    "CLUSTERDOWN": _CLUSTER,
    "not allowed in cluster mode": _CLUSTER,
    "DB index is out of range": "the database does not exist",
}
"""Part of Redis' error -> its cause. The errors are those of Redis 6.2 to 7.2 and Valkey."""

_WORDS_MAX: Final = 300
_LOG_INTERVAL_S: Final = 60.0
_LOGGED_MAX: Final = 256
"""Most kinds of refusals that are remembered; beyond it, the oldest are forgotten."""
_ARGUMENTS: Final = re.compile(r",? with args beginning with:.*", re.DOTALL)
"""Redis quotes the arguments of an unknown command; those of AUTH are passwords."""
_PIPELINE: Final = re.compile(
    r"Command # \d+ \(.*\) of pipeline caused error: \(?['\"]?(.*?)['\"]?,?\)?", re.DOTALL
)
"""Prefix of redis-py's errors about a command in a transaction, whose arguments it quotes."""
_VARIABLE: Final = re.compile(r"\b[0-9a-f]{40}\b|\d+")


def one_line(text: str) -> str:
    """Redis' error on one line, without the arguments of the command."""
    if (piped := _PIPELINE.fullmatch(text)) is not None:
        text = piped[1]
    text = _ARGUMENTS.sub("", text)
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:_WORDS_MAX]


def cause_of(words: str) -> str | None:
    """The cause of a lasting error of Redis; None: the error is not lasting."""
    return next((cause for part, cause in LASTING_ERRORS.items() if part in words), None)


def is_lasting(words: str) -> bool:
    """Whether Redis returns this error until an operator changes something."""
    return cause_of(words) is not None


def is_of_command(words: str) -> bool:
    """Whether Redis refuses the command to this user or does not have it, while others may work."""
    return cause_of(words) in (_NO_PERMISSION, _NO_COMMAND)


def in_cluster_mode(words: str) -> bool:
    """Whether only a Redis in cluster mode returns this error."""
    return cause_of(words) == _CLUSTER


def words_of(error: RedisError) -> str:
    """Redis' error text from redis-py's exception, which stores the error code separately."""
    words, code = one_line(str(error)), getattr(error, "status_code", None)
    return words if not code or code == "ERR" or words.startswith(code) else f"{code} {words}"


def to_store_error(
    error: RedisError | OSError | TimeoutError, unreachable: str = "Redis cannot be reached"
) -> StoreDown:
    """Convert a failure of redis-py to an error of the gateway; the caller sets the cause.

    Args:
        error: the failure.
        unreachable: the message if Redis did not answer.
    """
    if not isinstance(error, RedisError) or not is_error_reply(error := original_error(error)):
        return StoreDown(unreachable)
    words = words_of(error)
    if is_lasting(words):
        return StoreRefused(f"Redis refuses: {words}")
    return StoreDown(f"Redis refuses: {refused_text(words)}")


def original_error(error: RedisError) -> RedisError:
    """The original error of Redis: redis-py wraps the errors of the first commands on a connection."""
    cause = error.__cause__
    return cause if isinstance(cause, RedisError) and is_error_reply(cause) else error


def is_error_reply(error: RedisError) -> bool:
    """Whether this is an error reply of Redis. redis-py converts some of them to connection errors (NOAUTH,
    LOADING)."""
    return isinstance(error, ResponseError) or getattr(error, "status_code", None) is not None


class ErrorReplyLog:
    """Logs lasting refusals, each kind at most once a minute.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._logged_s: dict[str, float] = {}

    def log(self, words: str, connection: str) -> None:
        """Log an error of Redis if it is lasting and was not logged within the last minute.

        Args:
            words: the error, as `one_line` returns it.
            connection: the purpose of the connection.
        """
        cause = cause_of(words)
        if cause is None:
            return
        kind, now = _VARIABLE.sub("", words), self._clock()
        if now - self._logged_s.get(kind, float("-inf")) < _LOG_INTERVAL_S:
            return
        self._logged_s.pop(kind, None)
        if len(self._logged_s) >= _LOGGED_MAX:
            del self._logged_s[next(iter(self._logged_s))]
        self._logged_s[kind] = now
        _log.error("redis_command_refused", error=words, cause=cause, connection=connection)


ERROR_REPLY_LOG: Final = ErrorReplyLog()
"""The log of this process: all its connections share the limit."""
