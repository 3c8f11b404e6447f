"""Replies of Redis to an append."""

import msgspec
import pytest

from gateway.errors import QueueFull, ScheduleFull, StoreDown, StoreRefused
from gateway.queue.append_batch import AppendBatch
from gateway.queue.append_reply import error_of, lease_of, plain_error
from gateway.queue.entries import Entry
from gateway.store import keys
from gateway.store.connection import ConnectionLost, RedisReplyError
from protocols.ping.model import Ping


@pytest.mark.parametrize(
    ("word", "kind"),
    [(b"full", QueueFull), (b"schedule_full", ScheduleFull), (b"void", StoreDown)],
)
def test_each_refusal_of_the_script_becomes_its_error(word: bytes, kind: type[Exception]) -> None:
    assert type(error_of([word])) is kind


def test_an_append_that_is_done_is_no_error() -> None:
    assert error_of([b"done", b"1-0", b"own"]) is None


def test_an_error_of_redis_keeps_its_cause_and_names_no_detail_of_the_connection() -> None:
    lost = ConnectionLost("no connection to Redis (secret place)", sent=False)
    found = plain_error(lost)
    assert (found.message, found.__cause__) == ("Redis cannot be reached", lost)
    refused = plain_error(RedisReplyError("OOM command not allowed when used memory > 'maxmemory'."))
    assert refused.message.startswith("Redis refused the append: ")
    assert not isinstance(refused, StoreRefused)


def test_a_lease_describes_the_own_entry_or_an_older_one() -> None:
    batch = AppendBatch(keys.PINGS)
    batch.add(Ping(users=("bob",)), 7, lambda _: None)
    entry = Entry(batch.id, batch.accepted_ms, tuple(batch.pings))
    payload = msgspec.msgpack.encode(entry)
    own = lease_of(batch, payload, entry, [b"done", b"5-0", b"own"])
    assert (own.entry, own.payload, own.pings, own.size, own.decoded) == ("5-0", payload, 1, 7, entry)
    older = lease_of(batch, payload, entry, [b"done", b"5-0", [b"3-0", [b"e", b"x", b"n", b"2", b"s", b"9"]]])
    assert (older.entry, older.payload, older.pings, older.size, older.decoded) == ("3-0", b"x", 2, 9, None)
