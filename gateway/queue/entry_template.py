"""Entries that a Redis script encodes: the bytes that all of them share, and the Lua functions that join them.

An entry has msgspec's encoding of `Entry` and `Ping`. A script cannot call msgspec, so it gets the bytes around
the values that only the script has (users, sources, the number of pings), taken from an entry that msgspec
encoded. A changed field of `Entry` or `Ping` therefore changes these bytes too. The rest of the layout, the header
of an array, is in `LUA`.
"""

from typing import Final, NamedTuple

import msgspec

from gateway.queue.entries import Entry, encode
from protocols.ping.model import Ping

LUA: Final = """
-- A ping for these users and with these sources, encoded. `parts`: as `EntryTemplate`.
local function pack_ping(parts, users, sources)
    return parts.before .. cmsgpack.pack(users) .. parts.between .. cmsgpack.pack(sources) .. parts.behind
end

-- An entry with these encoded pings, at most 65,535. Their number is encoded as msgpack's "array 16".
local function pack_entry(parts, pings)
    local length = string.char(220, math.floor(#pings / 256), #pings % 256)
    return parts.head .. length .. table.concat(pings) .. parts.tail
end

-- Append these pings as one entry. `size`: bytes counted against the backlog.
local function append_entry(stream, parts, pings, size)
    redis.call('XADD', stream, '*', 'e', pack_entry(parts, pings), 'n', #pings, 's', size)
end

-- The parts of the template, read from five arguments that begin at this index.
local function entry_parts(first)
    return {
        head = ARGV[first],
        before = ARGV[first + 1],
        between = ARGV[first + 2],
        behind = ARGV[first + 3],
        tail = ARGV[first + 4],
    }
end
"""
"""Lua functions; prepended to the text of a script."""

_USERS: Final = ("\0users",)
_SOURCES: Final = ("\0sources",)
_LENGTH_OF_ONE: Final = encode((None,))[:1]


class EntryTemplate(NamedTuple):
    """The bytes of a pings entry around the values that a script inserts, in the order of `entry_parts` in `LUA`.

    Attributes:
        head: the entry's bytes up to the number of pings.
        before: each ping's bytes before its users.
        between: each ping's bytes between its users and its sources.
        behind: each ping's bytes after its sources.
        tail: the entry's bytes after the last ping.
    """

    head: bytes
    before: bytes
    between: bytes
    behind: bytes
    tail: bytes


def entry_template(batch_id: str, accepted_ms: int, ping: Ping) -> EntryTemplate:
    """Make the template from an encoded entry.

    Args:
        batch_id, accepted_ms: as in `Entry`.
        ping: the content of every ping of the entry, except users and sources.
    """
    ping = msgspec.structs.replace(ping, users=_USERS, sources=_SOURCES)
    packed = encode(ping)
    head, tail = encode(Entry(batch_id, accepted_ms, (ping,))).split(packed)
    before, rest = packed.split(encode(_USERS))
    between, behind = rest.split(encode(_SOURCES))
    return EntryTemplate(head.removesuffix(_LENGTH_OF_ONE), before, between, behind, tail)
