"""Redis commands as bytes, and the one check of what they hold.

hiredis asks Python for the decimal text of an integer without looking whether it got one. Python gives none beyond
4,300 digits, and the process ends by SIGSEGV. Text that UTF-8 cannot carry, booleans and None raise exceptions that
are not of the error tree. So every command, of a `Link` and of redis-py's clients alike, passes `check` first.
"""

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import hiredis
import msgspec
from redis._parsers import Encoder
from redis.exceptions import DataError

from gateway.errors import StoreDown

Argument: TypeAlias = str | bytes | int | float

_hiredis_pack: Final[Any] = hiredis.pack_command  # its stub knows only commands of one word
# In C, some 0.2 µs a command: integers from -2^63 to 2^64-1, UTF-8 text, no type that Redis has not.
_check: Final = msgspec.msgpack.Encoder().encode


class UnsendableCommand(StoreDown):
    """A command holds something that Redis cannot carry, and was not sent. The message never shows the value.

    Whatever comes from outside is limited where it is parsed; this is the last guard behind those limits.
    """

    status = 400
    code = "unsendable_value"
    label = "unsendable_value"
    retryable = False

    @property
    def of_data(self) -> bool:
        """The value stands in the way."""
        return True


def pack(words: Sequence[Argument]) -> bytes:
    """The bytes of a command, for `Link.burst` and `Link.post_packed`.

    Raises:
        Unsendable: an integer of more than 64 bits, text that UTF-8 cannot carry, or a value of another type.
    """
    try:
        _check(words)
        packed: bytes = _hiredis_pack(tuple(words))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _unsendable(error) from error
    return packed


class CheckedEncoder(Encoder):
    """redis-py's encoder of one word, with the check of `pack`."""

    def encode(self, value: Any) -> Any:
        """Encode one word.

        Raises:
            Unsendable: as `pack`.
        """
        parent: Any = super()  # redis-py left it untyped
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
    return UnsendableCommand("a value is neither text, bytes nor a number")
