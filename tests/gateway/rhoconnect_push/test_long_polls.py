"""State of each poll (asking, waiting, answered), without an event loop or a store."""

from collections.abc import Callable
from typing import Any, cast

import pytest

from gateway.errors import StoreDown
from gateway.mailbox.store import MailboxStore
from gateway.rhoconnect_push.long_polls import LongPolls
from gateway.store.connection import ConnectionLost


class Store:
    """Stores each question; the test replies."""

    def __init__(self) -> None:
        self.questions: list[tuple[bytes, int, Callable[[Any], None]]] = []

    def poll(self, instance: bytes, last: int, done: Callable[[Any], None]) -> None:
        self.questions.append((instance, last, done))

    def tell(self, reply: Any, which: int = -1) -> None:
        self.questions[which][2](reply)


class Device:
    """A connection that records its answers."""

    def __init__(self) -> None:
        self.instance = b""
        self.last = self.turn = self.since = 0
        self.asking = False
        self.answers: list[tuple[int, bytes]] = []

    def answer(self, status: int, body: bytes = b"") -> None:
        self.answers.append((status, body))


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def polls(store: Store) -> LongPolls:
    return LongPolls(cast(MailboxStore, store), 90)


@pytest.mark.parametrize(
    ("reply", "answers", "waiting"),
    [
        (0, [(404, b"")], 0),
        (b"message", [(200, b"message")], 0),
        (b"", [], 1),
        (StoreDown("refused"), [(503, b"")], 0),
        (ConnectionLost("gone", sent=True), [], 1),
    ],
)
def test_each_reply_of_the_store_decides_the_answer(
    store: Store, polls: LongPolls, reply: Any, answers: list[tuple[int, bytes]], waiting: int
) -> None:
    device = Device()
    polls.begin(device, "i", 7, 0)
    assert store.questions[0][:2] == (b"i", 7)
    store.tell(reply)
    assert (device.answers, len(polls)) == (answers, waiting)


def test_notifications_are_ignored_while_a_poll_is_asking(store: Store, polls: LongPolls) -> None:
    device = Device()
    polls.begin(device, "i", 0, 0)
    polls.message(b"i", b"old news")
    polls.superseded(b"i")
    polls.unregistered(b"i")
    assert device.answers == []
    store.tell(b"")
    polls.message(b"i", b"news")
    assert device.answers == [(200, b"news")]
    polls.message(b"i", b"more")
    assert len(device.answers) == 1


@pytest.mark.parametrize(("event", "status"), [("superseded", 204), ("unregistered", 410)])
def test_the_answer_to_each_notification_while_a_poll_waits(
    store: Store, polls: LongPolls, event: str, status: int
) -> None:
    device = Device()
    polls.begin(device, "i", 0, 0)
    store.tell(b"")
    getattr(polls, event)(b"i")
    assert device.answers == [(status, b"")]


def test_a_late_reply_to_an_older_question_is_ignored(store: Store, polls: LongPolls) -> None:
    first, second = Device(), Device()
    polls.begin(first, "i", 0, 0)
    polls.begin(second, "i", 5, 1)
    assert first.answers == [(204, b"")]
    store.tell(b"late", which=0)
    assert (first.answers, second.answers) == ([(204, b"")], [])
    store.tell(b"now", which=1)
    assert second.answers == [(200, b"now")]


def test_a_late_reply_to_an_older_question_of_the_same_poll_is_ignored(
    store: Store, polls: LongPolls
) -> None:
    device = Device()
    polls.begin(device, "i", 7, 0)
    polls.recheck()
    store.tell(b"late", which=0)
    assert (device.answers, polls.asking) == ([], 1)
    store.tell(b"now", which=1)
    assert device.answers == [(200, b"now")]


def test_after_a_lost_channel_all_polls_ask_again(store: Store, polls: LongPolls) -> None:
    devices = [Device() for _ in range(3)]
    for number, device in enumerate(devices):
        polls.begin(device, f"i{number}", number, 0)
        store.tell(b"")
    polls.recheck()
    assert [(instance, last) for instance, last, _ in store.questions[3:]] == [
        (b"i0", 0),
        (b"i1", 1),
        (b"i2", 2),
    ]
    assert polls.asking == 3
    store.tell(b"found", which=4)
    assert devices[1].answers == [(200, b"found")]


def test_the_end_of_an_older_connection_leaves_the_newer_poll(store: Store, polls: LongPolls) -> None:
    first, second = Device(), Device()
    polls.begin(first, "i", 0, 0)
    polls.begin(second, "i", 0, 0)
    polls.end(first)
    assert len(polls) == 1
    polls.end(second)
    assert len(polls) == 0


def test_a_poll_is_answered_at_its_limit_and_not_before(store: Store, polls: LongPolls) -> None:
    device = Device()
    polls.begin(device, "i", 0, 10)
    store.tell(b"")
    polls.tick(99)
    assert device.answers == []
    polls.tick(100)
    assert device.answers == [(204, b"")]


def test_an_unlimited_poll_is_never_answered_by_the_tick(store: Store) -> None:
    polls = LongPolls(cast(MailboxStore, store), 0)
    polls.begin(Device(), "i", 0, 0)
    polls.tick(10**9)
    assert len(polls) == 1


def test_polls_that_began_together_are_answered_over_several_ticks(store: Store, polls: LongPolls) -> None:
    for number in range(8_000):
        polls.begin(Device(), str(number), 0, 0)
    left = []
    for tick in range(90, 98):
        polls.tick(tick)
        left.append(len(polls))
    assert left[:2] == [6_000, 4_500], "a quarter a second"
    assert left[-1] == 0, "all within 8 seconds: before the time limit of a Windows device"
