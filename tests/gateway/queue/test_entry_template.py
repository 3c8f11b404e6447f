"""An entry that a Redis script encodes is the one that msgspec encodes."""

import msgspec
import pytest

from gateway.queue.entries import Entry, encode, pings_of, read_entry
from gateway.queue.entry_template import LUA, entry_template
from gateway.store import keys
from gateway.store.connection import Argument, RedisConnection, Script
from protocols.ping.model import CHANGE_EVENTS, Ping

BATCH = "0123456789ab7def8123456789ab"
AT_MS = 1_700_000_000_123
TEMPLATE = Ping(ingress=CHANGE_EVENTS, badge=3, ttl_s=60)
_ENCODE = Script(
    LUA
    + """
-- ARGV: parts, then for each ping its user, the number of its sources, and its sources
local parts, pings, at = entry_parts(1), {}, 6
while at <= #ARGV do
    local sources = {}
    for place = at + 2, at + 1 + ARGV[at + 1] do sources[#sources + 1] = ARGV[place] end
    pings[#pings + 1] = pack_ping(parts, {ARGV[at]}, sources)
    at = at + 2 + ARGV[at + 1]
end
append_entry(KEYS[1], parts, pings, 7)
return redis.call('XRANGE', KEYS[1], '-', '+')[1][2]
"""
)


def expected(count: int, sources: tuple[str, ...]) -> Entry:
    """This number of pings, of users whose names take msgpack's three lengths of a text."""
    users = (f"{number}{'ü' * (number % 3 * 100)}" for number in range(count))
    pings = (msgspec.structs.replace(TEMPLATE, users=(user,), sources=sources) for user in users)
    return Entry(BATCH, AT_MS, tuple(pings))


@pytest.mark.parametrize("count", [1, 15, 16, keys.ENTRY_PINGS])
@pytest.mark.parametrize("sources", [("Product",), tuple(f"Source{number}" for number in range(17))])
async def test_a_script_writes_the_entry_that_a_reader_of_the_queue_expects(
    connection: RedisConnection, count: int, sources: tuple[str, ...]
) -> None:
    entry = expected(count, sources)
    words: list[Argument] = [*entry_template(BATCH, AT_MS, TEMPLATE)]
    for ping in entry.pings:
        words += [ping.users[0], len(ping.sources), *ping.sources]
    flat = await connection.eval(_ENCODE, ["entries"], words)
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    assert (fields[b"n"], fields[b"s"]) == (b"%d" % count, b"7")
    assert read_entry(fields[b"e"]) == entry


def test_the_template_is_made_from_the_encoding_of_msgspec() -> None:
    head, before, between, behind, tail = entry_template(BATCH, AT_MS, TEMPLATE)
    users, sources = ("bob", "ann"), ("Product",)
    ping = before + encode(users) + between + encode(sources) + behind
    one = Entry(BATCH, AT_MS, (msgspec.structs.replace(TEMPLATE, users=users, sources=sources),))
    assert head + b"\x91" + ping + tail == encode(one)


def test_an_entry_gives_its_pings_their_ids_and_leaves_those_it_holds_alone() -> None:
    entry = expected(keys.ENTRY_PINGS, ("Product",))
    found = pings_of(entry, AT_MS + 5)
    assert [ping.id for ping in found] == [f"{BATCH}{number:04x}" for number in range(keys.ENTRY_PINGS)]
    assert {ping.accepted_ms for ping in found} == {AT_MS + 5}
    assert [ping.users for ping in found] == [ping.users for ping in entry.pings]
    assert {(ping.id, ping.accepted_ms) for ping in entry.pings} == {("", 0)}
