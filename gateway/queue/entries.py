"""What the entries of the queue's streams hold, and the lease under which a consumer has one."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from gateway.errors import BAD_DATA, UnreadableEntry
from gateway.store import keys
from gateway.store.former_words import INGRESSES
from protocols.numbers import whole
from protocols.ping.model import Ping

Kind = TypeVar("Kind")


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """What a stream entry holds: the pings of one batch. A ping's id is the batch and its place, in hex."""

    batch_id: str
    accepted_ms: int
    pings: tuple[Ping, ...]
    chunk_count: int = 0
    """Of a broadcast: how many chunks of users are kept beside."""


class Chunk(msgspec.Struct, frozen=True, array_like=True):
    """Sends of one ping that go out together: cut from a broadcast, or due again.

    Attributes:
        ping: with its id; `users` is empty.
        chunk_index: of a broadcast, the part of its list of users that this reaches; -1: it comes again.
        clients: client ids, of what comes again.
        attempt: how often these sends were tried.
        first_ms: epoch ms of their first try; 0: never tried.
        lane: name of the lane in whose share of the backlog they waited; "".
        bulk: they are a broadcast's, which small pings overtake.
    """

    ping: Ping
    chunk_index: int = -1
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
        payload: an `Entry` (pings, broadcasts) or a `Chunk`, packed.
        pings: counted against the backlog.
        size: bytes counted against the backlog.
        redelivered: it was read before, perhaps by another consumer: there may be progress.
        decoded: what the payload says, where this process has just written it.
    """

    stream: str
    entry: str
    payload: bytes
    pings: int
    size: int
    redelivered: bool
    decoded: Entry | None = None

    @property
    def users(self) -> int:
        """How many users the pings name; as many as pings where this process has not written them."""
        return self.pings if self.decoded is None else sum(len(ping.users) for ping in self.decoded.pings)


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
decode_chunk: Final = decoder(Chunk)
encode: Final = msgspec.msgpack.Encoder().encode

CHUNKS_MAX: Final = 1_000_000
"""Chunks of a broadcast: 400 million users."""
_ATTEMPTS_MAX: Final = 1_000_000
_MS_MAX: Final = 253_402_300_800_000
"""The end of the year 9999 in epoch ms: what lies behind it is no instant."""
_BATCH: Final = re.compile(r"[0-9a-f]{28}")
_PING_ID: Final = re.compile(r"[0-9a-f]{32}")
_COUNT_MAX: Final = 10**12
PING_INDEXES: Final = tuple(f"{index:04x}" for index in range(keys.ENTRY_PINGS))
"""The last four digits of the ids of an entry's pings, in their order."""
_replace: Final = msgspec.structs.replace


def read_entry(payload: bytes) -> Entry:
    """The pings of an entry of the pings or the broadcasts stream.

    Raises:
        UnreadableEntry: it is not what a gateway of this version appends.
    """
    try:
        entry = decode_entry(payload)
    except BAD_DATA as error:
        raise UnreadableEntry(f"no entry: {error}") from error
    if not _BATCH.fullmatch(entry.batch_id):
        raise UnreadableEntry("the batch is not 28 hex digits")
    if not 0 < len(entry.pings) <= keys.ENTRY_PINGS:
        raise UnreadableEntry(f"{len(entry.pings)} pings")
    if not 0 <= entry.accepted_ms <= _MS_MAX:
        raise UnreadableEntry("accepted_ms is no instant")
    if any(ping.ingress in INGRESSES for ping in entry.pings):
        pings = tuple(map(_with_present_ingress, entry.pings))
        return Entry(entry.batch_id, entry.accepted_ms, pings, entry.chunk_count)
    return entry


def pings_of(entry: Entry, accepted_ms: int) -> tuple[Ping, ...]:
    """The pings of an entry with the ids and the instant that the entry gives them (see `Entry`).

    Args:
        entry: as read or as appended: its pings have neither.
        accepted_ms: when they were accepted, in epoch ms by the clock as it is now (`SharedClock.corrected`).
    """
    batch_id = entry.batch_id
    return tuple(
        [
            _replace(ping, id=batch_id + index, accepted_ms=accepted_ms)
            for index, ping in zip(PING_INDEXES, entry.pings, strict=False)
        ]
    )


def read_broadcast(payload: bytes) -> Entry:
    """The one ping of an entry of the broadcasts stream. Raises as `read_entry`."""
    entry = read_entry(payload)
    if len(entry.pings) != 1 or not 0 <= entry.chunk_count <= CHUNKS_MAX:
        raise UnreadableEntry(f"a broadcast of {len(entry.pings)} pings and {entry.chunk_count} chunks")
    return entry


def read_chunk(payload: bytes) -> Chunk:
    """An entry of the retries or the pieces stream. Raises as `read_entry`."""
    try:
        chunk = decode_chunk(payload)
    except BAD_DATA as error:
        raise UnreadableEntry(f"no piece: {error}") from error
    if not _PING_ID.fullmatch(chunk.ping.id):
        raise UnreadableEntry("the ping's id is not 32 hex digits")
    if not -1 <= chunk.chunk_index < CHUNKS_MAX or not 0 <= chunk.attempt <= _ATTEMPTS_MAX:
        raise UnreadableEntry(f"chunk {chunk.chunk_index}, attempt {chunk.attempt}")
    if not 0 <= chunk.first_ms <= _MS_MAX or not 0 <= chunk.ping.accepted_ms <= _MS_MAX:
        raise UnreadableEntry("first_ms or accepted_ms is no instant")
    if chunk.ping.ingress in INGRESSES:
        return msgspec.structs.replace(chunk, ping=_with_present_ingress(chunk.ping))
    return chunk


def _with_present_ingress(ping: Ping) -> Ping:
    """The ping with its ingress in this version's words, where an earlier version stored it."""
    return msgspec.structs.replace(ping, ingress=INGRESSES.get(ping.ingress, ping.ingress))


class _EntryOutline(msgspec.Struct, frozen=True, array_like=True):
    batch_id: str
    accepted_ms: msgspec.Raw
    pings: tuple[msgspec.Raw, ...]


class _ChunkOutline(msgspec.Struct, frozen=True, array_like=True):
    ping: msgspec.Raw
    chunk_index: msgspec.Raw = msgspec.Raw()
    clients: tuple[str, ...] = ()


class _PingOutline(msgspec.Struct, frozen=True, array_like=True):
    id: str


class EntryOutline(NamedTuple):
    """What can be told of an entry that cannot be read as a whole.

    Attributes:
        batch_id: of its pings' ids.
        pings: their places in the batch, and the channel on which a request waits for each; "".
        clients: client ids that a piece names.
    """

    batch_id: str
    pings: tuple[tuple[int, str], ...]
    clients: tuple[str, ...] = ()


_decode_entry_outline: Final = msgspec.msgpack.Decoder(_EntryOutline).decode
_decode_chunk_outline: Final = msgspec.msgpack.Decoder(_ChunkOutline).decode
_decode_ping_outline: Final = msgspec.msgpack.Decoder(_PingOutline).decode
_decode_ping: Final = msgspec.msgpack.Decoder(Ping).decode


def outline(stream: str, payload: bytes) -> EntryOutline | None:
    """The pings of an entry that was put aside, as far as their ids can be read; None: they cannot."""
    try:
        if stream in (keys.PINGS, keys.BROADCASTS):
            return _outline_of_entry(payload)
        chunk = _decode_chunk_outline(payload)
        ping_id = _decode_ping_outline(chunk.ping).id
    except BAD_DATA:
        return None
    if not _PING_ID.fullmatch(ping_id):
        return None
    ping_index = int(ping_id[28:], 16)
    return EntryOutline(
        ping_id[:28], ((ping_index, _reply_to(chunk.ping)),), chunk.clients[: keys.ENTRY_USERS]
    )


def _outline_of_entry(payload: bytes) -> EntryOutline | None:
    entry = _decode_entry_outline(payload)
    if not _BATCH.fullmatch(entry.batch_id) or not 0 < len(entry.pings) <= keys.ENTRY_PINGS:
        return None
    return EntryOutline(entry.batch_id, tuple(_ping_indexes(entry.pings)))


def _ping_indexes(pings: Sequence[msgspec.Raw]) -> Iterator[tuple[int, str]]:
    for ping_index, ping in enumerate(pings):
        yield ping_index, _reply_to(ping)


def _reply_to(ping: msgspec.Raw) -> str:
    try:
        return _decode_ping(ping).reply_to or ""
    except BAD_DATA:
        return ""


def leases_of(stream: str, entries: Sequence[Any], *, redelivered: bool) -> list[Lease]:
    """Entries as Redis tells them; one that was deleted meanwhile has no fields."""
    leases = []
    for item in entries:
        if item is None or not item[1]:
            continue
        entry, flat = item
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        pings, size = _count(fields.get(b"n", b"")), _count(fields.get(b"s", b""))
        leases.append(Lease(stream, entry.decode(), fields.get(b"e", b""), pings, size, redelivered))
    return leases


def _count(text: bytes) -> int:
    """Lenient, since what is not ours is put aside by whoever cannot decode it, and must not hide the rest."""
    return whole(text, highest=_COUNT_MAX) or 0
