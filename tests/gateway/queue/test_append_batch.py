"""Batches of pings: their ids, and the outcomes of repeated keys."""

import re
import uuid

import pytest

from gateway.errors import IdempotencyConflict, PossiblyAccepted, QueueFull, RhoPushError
from gateway.queue.append_batch import Accepted, AppendBatch, IdempotencyKey, OnAppended, new_batch
from gateway.store import keys
from protocols.ping.model import Ping

PING = Ping(users=("bob",))


def key(name: str, body: str = "body") -> IdempotencyKey:
    return IdempotencyKey(name.encode(), body.encode())


class Outcomes(dict[str, Accepted | RhoPushError | None]):
    def of(self, name: str) -> OnAppended:
        return lambda outcome: self.__setitem__(name, outcome)


def test_a_batch_id_and_an_index_form_a_uuid_of_version_7() -> None:
    batch = new_batch(1_764_540_000_000)
    assert re.fullmatch(r"[0-9a-f]{28}", batch)
    assert uuid.UUID(batch + "0001").version == 7
    assert batch < new_batch(1_764_540_000_001)


def test_an_entry_bounds_a_batch() -> None:
    batch = AppendBatch(keys.PINGS)
    for index in range(keys.ENTRY_PINGS):
        assert not batch.full
        assert batch.add(PING, 1, print) == f"{batch.id}{index:04x}"
    assert batch.full


def test_users_and_bytes_bound_a_batch() -> None:
    users = tuple(f"user{n}" for n in range(100))
    for pings, size, ping in (
        (keys.ENTRY_USERS // 100, 1, Ping(users=users)),
        (4, keys.ENTRY_BYTES // 4, PING),
    ):
        batch = AppendBatch(keys.PINGS)
        for _ in range(pings):
            assert not batch.full
            batch.add(ping, size, print)
        assert batch.full


def test_the_same_key_and_body_is_one_ping() -> None:
    batch, told = AppendBatch(keys.PINGS), Outcomes()
    first = batch.add_keyed(PING, 1, told.of("first"), key("k"))
    assert batch.admits(key("k"))
    assert not batch.admits(key("k", "other"))
    assert batch.add_keyed(PING, 1, told.of("second"), key("k")) == first
    assert batch.add_keyed(PING, 1, told.of("third"), key("k")) == first
    assert (len(batch.pings), batch.size) == (1, 1)
    batch.notify(None)
    assert told == {
        "first": None,
        "second": Accepted(first, repeated=True),
        "third": Accepted(first, repeated=True),
    }
    batch.notify(QueueFull("full"))
    assert {type(outcome) for outcome in told.values()} == {QueueFull}


@pytest.mark.parametrize("lost", [False, True])
def test_pings_of_a_second_batch_have_other_ids(lost: bool) -> None:
    batch, rest, told = AppendBatch(keys.PINGS), AppendBatch(keys.PINGS), Outcomes()
    for name in ("known", "other", "free", "last"):
        batch.add_keyed(PING, 5, told.of(name), key(name))
    batch.add_keyed(PING, 5, told.of("free again"), key("free"))
    batch.regroup([b"1" * 32, b"conflict", b"", b""], rest)
    assert told["known"] == Accepted("1" * 32, repeated=True)
    assert isinstance(told["other"], IdempotencyConflict)
    assert (len(rest.pings), rest.size) == (2, 10)
    rest.notify(PossiblyAccepted("lost") if lost else None)
    ids = [f"{rest.id}0000", f"{rest.id}0001"]
    if lost:
        found = [told["free"], told["last"], told["free again"]]
        assert [one.ping_id for one in found if isinstance(one, PossiblyAccepted)] == [*ids, ids[0]]
    else:
        assert [told["free"], told["last"]] == [Accepted(ping_id) for ping_id in ids]
        assert told["free again"] == Accepted(ids[0], repeated=True)
