"""Encoding of Redis commands, and the only check of their values.

hiredis asks Python for the decimal text of an integer without checking the result. Python makes no text beyond 4,300
digits, and the process ends with SIGSEGV. Text that UTF-8 cannot carry, booleans and None raise exceptions outside
the error tree. Therefore every command, of `RedisConnection` and of redis-py's clients, passes `check` first.
"""

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import hiredis
import msgspec
from redis._parsers import Encoder
from redis.exceptions import DataError

from gateway.errors import StoreDown

Argument: TypeAlias = str | bytes | int | float

_hiredis_pack: Final[Any] = hiredis.pack_command  # the package's stub only declares commands of one word
# Implemented in C, about 0.2 µs for each command. It accepts integers from -2^63 to 2^64-1 and UTF-8 text, and
# refuses types that Redis does not have.
_check: Final = msgspec.msgpack.Encoder().encode


class UnsendableCommand(StoreDown):
    """A command holds a value that Redis cannot carry, and was not sent. The message never shows the value.

    Data from outside is limited where it is parsed; this check is a safeguard in addition to those limits.
    """

    status = 400
    code = "unsendable_value"
    label = "unsendable_value"
    retryable = False

    @property
    def of_data(self) -> bool:
        """Whether the data causes the error: always true."""
        return True


def pack(words: Sequence[Argument]) -> bytes:
    """Encode a command, for `RedisConnection.send_many` and `RedisConnection.send_packed`.

    Raises:
        UnsendableCommand: an integer of more than 64 bits, text that UTF-8 cannot carry, or a value of another type.
    """
    try:
        _check(words)
        packed: bytes = _hiredis_pack(tuple(words))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _unsendable(error) from error
    return packed


class CheckedEncoder(Encoder):
    """Encoder of redis-py for one word, with the same check as `pack`."""

    def encode(self, value: Any) -> Any:
        """Encode one word.

        Raises:
            UnsendableCommand: as in `pack`.
        """
        parent: Any = super()  # redis-py's method has no type annotations
        try:
            _check(value)
            return parent.encode(value)
        except (TypeError, ValueError, OverflowError, RecursionError, DataError) as error:
            raise _unsendable(error) from error


def _unsendable(error: Exception) -> UnsendableCommand:
    if isinstance(error, UnicodeEncodeError):
        return UnsendableCommand("a text holds characters that UTF-8 cannot carry")
    if isinstance(error, OverflowError):
        return UnsendableCommand("an integer has more than 64 bits")
    return UnsendableCommand("a value must be text, bytes or a number")
