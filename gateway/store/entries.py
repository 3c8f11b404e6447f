"""What the entries of the queue's streams hold, and the lease under which a consumer has one."""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from protocols.numbers import whole
from protocols.ping.model import Ping

Kind = TypeVar("Kind")


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """What a stream entry holds: the pings of one batch. A ping's id is the batch and its place, in hex."""

    batch: str
    accepted_ms: int
    pings: tuple[Ping, ...]
    chunks: int = 0
    """Of a broadcast: how many chunks of users are kept beside."""


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """Sends of one ping that go out together: cut from a broadcast, or due again.

    Attributes:
        ping: with its id; `users` is empty.
        chunk: of a broadcast, the part of its list of users that this reaches; -1: it comes again.
        clients: client ids, of what comes again.
        attempt: how often these sends were tried.
        first_ms: epoch ms of their first try; 0: never tried.
        lane: name of the lane in whose share of the backlog they waited; "".
        bulk: they are a broadcast's, which small pings overtake.
    """

    ping: Ping
    chunk: int = -1
    clients: tuple[str, ...] = ()
    attempt: int = 0
    first_ms: int = 0
    lane: str = ""
    bulk: bool = False


class Lease(NamedTuple):
    """An entry that this consumer holds.

    Attributes:
        stream: whose entry it is.
        entry: its id in the stream.
        payload: an `Entry` (pings, broadcasts) or a `Piece`, packed.
        pings: counted against the backlog.
        size: bytes counted against the backlog.
        again: it was read before, perhaps by another consumer: there may be progress.
        held: what the payload says, where this process has just written it.
    """

    stream: str
    entry: str
    payload: bytes
    pings: int
    size: int
    again: bool
    held: Entry | None = None

    @property
    def users(self) -> int:
        """How many users the pings name; as many as pings where this process has not written them."""
        return self.pings if self.held is None else sum(len(ping.users) for ping in self.held.pings)


def decoder(kind: type[Kind]) -> Callable[[bytes], Kind]:
    """A function that unpacks a value of this type, and raises nothing but msgspec.DecodeError.

    A value that is nested without end raises RecursionError, and a text that is not UTF-8 UnicodeDecodeError: neither
    is an error of msgspec's own.
    """
    decode = msgspec.msgpack.Decoder(kind).decode

    def unpack(packed: bytes) -> Kind:
        try:
            return decode(packed)
        except (UnicodeDecodeError, RecursionError) as error:
            raise msgspec.DecodeError(f"cannot be read: {type(error).__name__}") from error

    return unpack


decode_entry: Final = decoder(Entry)
decode_piece: Final = decoder(Piece)
encode: Final = msgspec.msgpack.Encoder().encode


def leases_of(stream: str, entries: Sequence[Any], *, again: bool) -> list[Lease]:
    """Entries as Redis tells them; one that was deleted meanwhile has no fields."""
    leases = []
    for item in entries:
        if item is None or not item[1]:
            continue
        entry, flat = item
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        # Lenient, since what is not ours is put aside by whoever cannot decode it, and must not hide the rest.
        pings, size = (whole(fields.get(name, b"")) or 0 for name in (b"n", b"s"))
        leases.append(Lease(stream, entry.decode(), fields.get(b"e", b""), pings, size, again))
    return leases
