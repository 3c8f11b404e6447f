"""Changes as Redis itself reports them: keyspace notifications of RhoConnect's own document writes.

RhoConnect stores the data of a source for a user in a master document, `source:application:USER:SOURCE:md...`
(contract §7): sets by the first two hex digits of an object's digest, an index and a size. A change of one of these
keys is a change of that user's data.

| class | flag | commands that write a document |
| --- | --- | --- |
| sets | `s` | SADD, SREM of the buckets |
| hashes | `h` | HSET, HDEL of `md:indices` |
| strings | `$` | INCRBY, SET of `md_size` |
| generic | `g` | DEL, RENAME of any of them |

Flags: Redis, *Keyspace notifications*, "Configuration". `K` requests `__keyspace@N__:` channels.
"""

import re
from typing import Final

from protocols.change_events.change import NAME_BYTES_MAX, Change
from protocols.errors import InvalidField

DOCUMENTS: Final = "source:application:*:md*"
"""Glob of the keys of interest; `change_of` checks them exactly."""
FLAGS: Final = "Kg$sh"
"""Flags that `notify-keyspace-events` must contain at least; `A` stands for all classes."""
WRITES: Final = frozenset(
    b"sadd srem spop sunionstore del rename_from rename_to copy_to hset hdel hincrby set incrby decrby".split()
)
"""Events that change data. Changes of a key's time to live (`expire`, `persist`, `expired`) do not."""
SHARED: Final = "__shared__"
"""The partition of a source that all users share: its changes cause no push (contract §5)."""

_DOCUMENT: Final = re.compile(rb"source:application:(.+):([^:]+):md(?:_size|:indices|:[0-9a-f]{2})?", re.S)
_CHANNEL: Final = re.compile(rb"__keyspace@\d+__:(.*)", re.S)
_CLASSES: Final = frozenset("g$lshztdxen")


def pattern(db: int) -> str:
    """The pattern to PSUBSCRIBE for the documents of a database."""
    return f"__keyspace@{db}__:{DOCUMENTS}"


def change_of(channel: bytes, event: bytes) -> Change | None:
    """The change that a notification reports; None: it reports none (another key, another event, shared data).

    A login may contain colons, while a source's name does not: it is the last part before `:md`.

    Raises:
        InvalidField: the partition is not a text, or is too long to be a login.
    """
    database = _CHANNEL.fullmatch(channel)
    found = _DOCUMENT.fullmatch(database[1]) if database is not None and event in WRITES else None
    if found is None:
        return None
    try:
        user, source = found[1].decode(), found[2].decode()
    except UnicodeDecodeError as error:
        raise InvalidField("a document's partition is not UTF-8", field="user_id") from error
    if len(found[1]) > NAME_BYTES_MAX or len(found[2]) > NAME_BYTES_MAX:
        raise InvalidField(f"a document's partition has more than {NAME_BYTES_MAX} bytes", field="user_id")
    return None if user == SHARED else Change((user,), source)


def missing_flags(configured: str) -> str:
    """The flags of `FLAGS` that a server's `notify-keyspace-events` lacks; "": none."""
    held = set(configured)
    if "A" in held:
        held |= _CLASSES
    return "".join(flag for flag in FLAGS if flag not in held)
