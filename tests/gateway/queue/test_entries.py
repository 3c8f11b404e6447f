"""Contents of stream entries: read, or refused by one error."""

from typing import Any

import msgspec
import pytest

from gateway.queue.broadcasts import decode_users
from gateway.queue.entries import (
    Chunk,
    Entry,
    decode_chunk,
    decode_entry,
    encode,
    leases_of,
    read_chunk,
    read_entry,
)
from gateway.store import keys
from protocols.ping.model import Ping

DEEP = [b"\x91" * 100_000, b"\x93\xa1b\x00\x91\x95\xa1i\x00\x90\x90" + b"\x81\xa1a" * 5_000]
NO_TEXT = [b"\x93\xa1\xff\x00\x90", b"\x91\xa1\xff"]


@pytest.mark.parametrize("decode", [decode_entry, decode_chunk, decode_users])
@pytest.mark.parametrize("packed", [b"", b"\xc1", *DEEP, *NO_TEXT], ids=range(6))
def test_unreadable_entries_raise_one_error(decode: Any, packed: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode(packed)


def test_an_entry_is_read() -> None:
    entry = Entry("b", 5, (Ping(users=("bob",)),))
    assert decode_entry(encode(entry)) == entry


FORMER_INGRESSES = [("rest", "http"), ("event", "change_events"), ("resque", "resque"), ("python", "python")]
BATCH = "0" * 28


@pytest.mark.parametrize(("stored", "present"), FORMER_INGRESSES)
def test_the_ingress_of_a_ping_of_an_earlier_version_has_its_present_name(stored: str, present: str) -> None:
    pings = (Ping(users=("bob",), ingress=stored), Ping(users=("ann",), message="hi"))
    read = read_entry(encode(Entry(BATCH, 5, pings, 7)))
    now = (Ping(users=("bob",), ingress=present), Ping(users=("ann",), message="hi", ingress="http"))
    assert read == Entry(BATCH, 5, now, 7)


@pytest.mark.parametrize(("stored", "present"), FORMER_INGRESSES)
def test_a_chunk_of_an_earlier_version_keeps_the_name_of_its_lane(stored: str, present: str) -> None:
    ping = Ping(id=f"{BATCH}0000", ingress=stored)
    read = read_chunk(encode(Chunk(ping, clients=("c",), attempt=2, lane="rps")))
    assert read == Chunk(Ping(id=ping.id, ingress=present), clients=("c",), attempt=2, lane="rps")


@pytest.mark.parametrize("count", [b"", b"x", b"-1", b"1.5", b"9" * 5_000, b"1_0", b"18446744073709551616"])
def test_an_invalid_count_is_0_and_hides_no_other_entry(count: bytes) -> None:
    good = (b"2-0", [b"e", b"payload", b"n", b"3", b"s", b"100"])
    wrong = (b"1-0", [b"e", b"payload", b"n", count, b"s", count])
    found = leases_of(keys.PINGS, [wrong, good], redelivered=False)
    assert [(lease.entry, lease.pings, lease.size) for lease in found] == [("1-0", 0, 0), ("2-0", 3, 100)]
