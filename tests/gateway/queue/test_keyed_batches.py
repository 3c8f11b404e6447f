"""The order of the batches of pings with Idempotency-Keys."""

import pytest

from gateway.queue.append_batch import AppendBatch, IdempotencyKey
from gateway.queue.keyed_batches import KeyedBatches
from gateway.store import keys
from protocols.ping.model import Ping


def key(name: str, body: str = "body") -> IdempotencyKey:
    return IdempotencyKey(name.encode(), body.encode())


class Batches:
    """Batches, and the pings that each commit sends, named by key and body."""

    def __init__(self) -> None:
        self.due_ms = 0
        self.keyed = KeyedBatches(lambda: AppendBatch(keys.PINGS, self.due_ms))

    def add(self, *names: str) -> None:
        for name in names:
            scope, _, body = name.partition("=")
            batch = self.keyed.batch_of(key(scope, body), self.due_ms)
            batch.add_keyed(Ping(users=(name,)), 1, print, key(scope, body))
            if batch.full:
                self.keyed.close(batch)

    def commits(self) -> list[list[list[str]]]:
        found = []
        while self.keyed.waiting:
            found.append([[ping.users[0] for ping in batch.pings] for batch in self.keyed.take()])
        assert self.keyed.take() == []
        return found


@pytest.fixture
def batches() -> Batches:
    return Batches()


def test_pings_with_different_keys_share_a_batch(batches: Batches) -> None:
    batches.add("a", "b", "a", "c")
    assert batches.commits() == [[["a", "b", "c"]]]


def test_the_same_key_with_another_body_waits_for_a_later_commit(batches: Batches) -> None:
    batches.add("a=1", "b", "a=2", "c", "a=3", "a=3", "b=2", "a=1", "d")
    assert batches.commits() == [[["a=1", "b", "c", "d"]], [["a=2", "b=2"]], [["a=3"]], [["a=1"]]]


def test_a_key_of_a_full_batch_waits_for_the_next_commit(
    batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "ENTRY_PINGS", 2)
    batches.add("a", "b", "c", "a", "b=2", "c=2", "d", "e")
    assert batches.commits() == [[["a", "b"], ["c", "d"], ["e"]], [["a", "b=2"]], [["c=2"]]]


def test_instants_do_not_share_a_batch(batches: Batches) -> None:
    for due_ms, names in ((1, ("a", "b", "a=2")), (2, ("c", "a=3")), (1, ("d",))):
        batches.due_ms = due_ms
        batches.add(*names)
    assert batches.commits() == [[["a", "b"], ["c"], ["d"]], [["a=2"]], [["a=3"]]]


def test_the_keys_of_a_commit_delay_no_later_ping(batches: Batches, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "ENTRY_PINGS", 1)
    batches.add("a")
    assert batches.commits() == [[["a"]]]
    batches.add("a=2")
    assert batches.commits() == [[["a=2"]]]


def test_a_batch_that_became_full_while_it_waited_takes_no_further_ping(
    batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "ENTRY_PINGS", 2)
    batches.add("a", "b", "a=2", "b=2")
    assert [[ping.users[0] for ping in batch.pings] for batch in batches.keyed.take()] == [["a", "b"]]
    batches.add("c")
    assert batches.commits() == [[["a=2", "b=2"], ["c"]]]


def test_a_repeated_key_does_not_join_a_batch_of_another_instant(batches: Batches) -> None:
    for due_ms, names in ((1, ("a", "a=2")), (2, ("c", "c=2"))):
        batches.due_ms = due_ms
        batches.add(*names)
    assert batches.commits() == [[["a"], ["c"]], [["a=2"]], [["c=2"]]]
