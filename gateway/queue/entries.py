"""Contents of the queue's stream entries, and the lease under which a consumer holds an entry."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from gateway.errors import BAD_DATA, UnreadableEntry
from gateway.store import keys
from gateway.store.former_words import INGRESSES
from protocols.numbers import stored, whole
from protocols.ping.model import Ping

Kind = TypeVar("Kind")


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """Content of a stream entry: the pings of one batch. A ping's id is the batch id and its index in hex."""

    batch_id: str
    accepted_ms: int
    pings: tuple[Ping, ...]
    chunk_count: int = 0
    """Number of chunks of users stored beside the entry of a broadcast."""


class Chunk(msgspec.Struct, frozen=True, array_like=True):
    """Deliveries of one ping that are processed together: a chunk of a broadcast, or due retries.

    Attributes:
        ping: the ping with its id; `users` is empty.
        chunk_index: index of the broadcast's chunk of users; -1 if `clients` lists the devices.
        clients: client ids of the devices, unless the chunk is one of a broadcast.
        attempt: number of previous attempts of these deliveries.
        first_ms: epoch ms of the first attempt; 0 if there was none.
        lane: name of the lane in whose share of the backlog the deliveries waited; "" if none.
        bulk: whether the deliveries belong to a broadcast, which small pings overtake.
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
        stream: key of the stream.
        entry: id of the entry in the stream.
        payload: a packed `Entry` (pings, broadcasts) or `Chunk`.
        pings: number of pings counted against the backlog.
        size: bytes counted against the backlog.
        redelivered: whether the entry was read before, possibly by another consumer, so that there may be progress.
        decoded: the decoded payload, if this process has just written it.
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
        """Number of users of the pings; the number of pings if this process has not written the entry."""
        return self.pings if self.decoded is None else sum(len(ping.users) for ping in self.decoded.pings)


def stored_ms(lease: Lease) -> int:
    """Epoch ms at which Redis stored the entry, by Redis' clock: the first part of the entry's id."""
    return stored(lease.entry.partition("-")[0])


def decoder(kind: type[Kind]) -> Callable[[bytes], Kind]:
    """Make a function that unpacks a value of this type and raises no error but msgspec.DecodeError.

    A value with unlimited nesting raises RecursionError, and text that is not UTF-8 raises UnicodeDecodeError;
    neither is a msgspec error.
    """
    decode = msgspec.msgpack.Decoder(kind).decode

    def unpack(packed: bytes) -> Kind:
        try:
            return decode(packed)
        except (UnicodeDecodeError, RecursionError) as error:
            raise msgspec.DecodeError(f"invalid msgpack data: {type(error).__name__}") from error

    return unpack


decode_entry: Final = decoder(Entry)
decode_chunk: Final = decoder(Chunk)
encode: Final = msgspec.msgpack.Encoder().encode

CHUNKS_MAX: Final = 1_000_000
"""Most chunks of a broadcast: 400 million users."""
_ATTEMPTS_MAX: Final = 1_000_000
_MS_MAX: Final = 253_402_300_800_000
"""The end of the year 9999 in epoch ms; larger values are not timestamps."""
_BATCH: Final = re.compile(r"[0-9a-f]{28}")
_PING_ID: Final = re.compile(r"[0-9a-f]{32}")
_COUNT_MAX: Final = 10**12
PING_INDEXES: Final = tuple(f"{index:04x}" for index in range(keys.ENTRY_PINGS))
"""The last four digits of the ids of an entry's pings, in their order."""
_replace: Final = msgspec.structs.replace


def read_entry(payload: bytes) -> Entry:
    """Read an entry of the stream of pings or of broadcasts.

    Raises:
        UnreadableEntry: the payload is not an entry that a gateway of this version appends.
    """
    try:
        entry = decode_entry(payload)
    except BAD_DATA as error:
        raise UnreadableEntry(f"not a queue entry: {error}") from error
    if not _BATCH.fullmatch(entry.batch_id):
        raise UnreadableEntry("the batch id must have 28 hex digits")
    if not 0 < len(entry.pings) <= keys.ENTRY_PINGS:
        raise UnreadableEntry(f"an entry must have 1 to {keys.ENTRY_PINGS} pings, not {len(entry.pings)}")
    if not 0 <= entry.accepted_ms <= _MS_MAX:
        raise UnreadableEntry("accepted_ms is not a timestamp")
    if any(ping.ingress in INGRESSES for ping in entry.pings):
        pings = tuple(map(_with_present_ingress, entry.pings))
        return Entry(entry.batch_id, entry.accepted_ms, pings, entry.chunk_count)
    return entry


def pings_of(entry: Entry, accepted_ms: int) -> tuple[Ping, ...]:
    """The pings of an entry with their ids and their time of acceptance (see `Entry`).

    Args:
        entry: an entry as read or as appended; its pings have neither.
        accepted_ms: time of acceptance, in epoch ms of the present clock (`SharedClock.corrected`).
    """
    batch_id = entry.batch_id
    return tuple(
        [
            _replace(ping, id=batch_id + index, accepted_ms=accepted_ms)
            for index, ping in zip(PING_INDEXES, entry.pings, strict=False)
        ]
    )


def read_broadcast(payload: bytes) -> Entry:
    """Read an entry of the stream of broadcasts, which has one ping. Raises as `read_entry`."""
    entry = read_entry(payload)
    if len(entry.pings) != 1 or not 0 <= entry.chunk_count <= CHUNKS_MAX:
        raise UnreadableEntry(f"a broadcast of {len(entry.pings)} pings and {entry.chunk_count} chunks")
    return entry


def read_chunk(payload: bytes) -> Chunk:
    """Read an entry of the stream of retries or of chunks. Raises as `read_entry`."""
    try:
        chunk = decode_chunk(payload)
    except BAD_DATA as error:
        raise UnreadableEntry(f"not a chunk: {error}") from error
    if not _PING_ID.fullmatch(chunk.ping.id):
        raise UnreadableEntry("the ping's id must have 32 hex digits")
    if not -1 <= chunk.chunk_index < CHUNKS_MAX or not 0 <= chunk.attempt <= _ATTEMPTS_MAX:
        raise UnreadableEntry(f"chunk index {chunk.chunk_index} or attempt {chunk.attempt} is out of range")
    if not 0 <= chunk.first_ms <= _MS_MAX or not 0 <= chunk.ping.accepted_ms <= _MS_MAX:
        raise UnreadableEntry("first_ms or accepted_ms is not a timestamp")
    if chunk.ping.ingress in INGRESSES:
        return msgspec.structs.replace(chunk, ping=_with_present_ingress(chunk.ping))
    return chunk


def _with_present_ingress(ping: Ping) -> Ping:
    """The ping with its ingress in this version's vocabulary, if an earlier version stored it."""
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
    """The readable parts of an entry that cannot be read as a whole.

    Attributes:
        batch_id: the batch id in its pings' ids.
        pings: the index of each ping in the batch, and the channel on which a request waits for it, or "".
        clients: client ids that a chunk lists.
    """

    batch_id: str
    pings: tuple[tuple[int, str], ...]
    clients: tuple[str, ...] = ()


_decode_entry_outline: Final = msgspec.msgpack.Decoder(_EntryOutline).decode
_decode_chunk_outline: Final = msgspec.msgpack.Decoder(_ChunkOutline).decode
_decode_ping_outline: Final = msgspec.msgpack.Decoder(_PingOutline).decode
_decode_ping: Final = msgspec.msgpack.Decoder(Ping).decode


def outline(stream: str, payload: bytes) -> EntryOutline | None:
    """The pings of a quarantined entry as far as their ids can be read; None if they cannot."""
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
    """The leases of entries in a reply of Redis. An entry that was deleted meanwhile has no fields and is omitted."""
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
    """Parse a count. An invalid count is 0: an entry of another program is quarantined when it is decoded, and
    must not hide the rest."""
    return whole(text, highest=_COUNT_MAX) or 0
