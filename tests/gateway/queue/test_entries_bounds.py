"""How many pings an entry holds, and entries that were deleted while they were read."""

import pytest

from gateway.errors import UnreadableEntry
from gateway.queue.entries import Entry, encode, leases_of, outline, read_entry
from gateway.store import keys
from protocols.ping.model import Ping

BATCH = "0123456789ab7def8123456789ab"


@pytest.mark.parametrize(
    ("count", "fits"), [(0, False), (1, True), (keys.ENTRY_PINGS, True), (keys.ENTRY_PINGS + 1, False)]
)
def test_an_entry_has_between_one_ping_and_the_limit(count: int, fits: bool) -> None:
    packed = encode(Entry(BATCH, 5, (Ping(users=("bob",)),) * count))
    if fits:
        assert len(read_entry(packed).pings) == count
    else:
        with pytest.raises(UnreadableEntry, match=f"must have 1 to {keys.ENTRY_PINGS} pings, not {count}$"):
            read_entry(packed)
    found = outline(keys.PINGS, packed)
    assert (found is not None and len(found.pings) == count) == fits


def test_a_deleted_entry_is_skipped() -> None:
    """XAUTOCLAIM of Redis 6.2 gives nil for it, XREADGROUP its id without fields."""
    good = (b"2-0", [b"e", b"payload", b"n", b"3", b"s", b"100"])
    found = leases_of(keys.PINGS, [None, (b"1-0", None), (b"1-1", []), good], redelivered=True)
    assert [(lease.entry, lease.payload) for lease in found] == [("2-0", b"payload")]
