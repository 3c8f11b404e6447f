"""The polls that wait in this process: at most one per instance, without a task or timer for each.

A poll is *asking* until the store has replied with the queued message; then the poll is answered, or waits.
Notifications about an instance that is asking are ignored, because the reply of the store contains the same facts
(`gateway.mailbox.store`): so an acknowledged message is not delivered again.
"""

from typing import Protocol

from gateway.errors import StoreDown
from gateway.mailbox.store import MailboxStore
from gateway.store.connection import ConnectionLost, Reply


class LongPoll(Protocol):
    """A connection whose device waits for a message.

    Attributes:
        instance: the instance that polls.
        last: the message that the poll acknowledges; 0: none.
        turn: incremented with each question to the store, so that a late reply can be recognised.
        asking: whether the reply of the store is outstanding.
        since: the tick at which the poll began.
    """

    instance: bytes
    last: int
    turn: int
    asking: bool
    since: int

    def answer(self, status: int, body: bytes = b"") -> None:
        """Answer the poll."""


class LongPolls:
    """All polls of this process.

    Args:
        store: the queued messages.
        wait: ticks after which a poll is answered with 204; 0: never.
    """

    def __init__(self, store: MailboxStore, wait: int) -> None:
        self._store = store
        self._wait = wait
        # Ordered by the time of the beginning, oldest first.
        self._waiting: dict[bytes, LongPoll] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def asking(self) -> int:
        """Number of polls whose reply of the store is outstanding."""
        return sum(poll.asking for poll in self._waiting.values())

    def begin(self, poll: LongPoll, instance: str, last: int, now: int) -> None:
        """Begin a poll. An older poll of the same instance is answered with 204."""
        poll.instance = instance.encode()
        poll.last = last
        poll.since = now
        older = self._waiting.pop(poll.instance, None)
        self._waiting[poll.instance] = poll
        self._ask(poll)
        if older is not None:
            older.answer(204)

    def end(self, poll: LongPoll) -> None:
        """Remove the poll of a closed connection."""
        if self._waiting.get(poll.instance) is poll:
            del self._waiting[poll.instance]

    def tick(self, now: int) -> None:
        """Answer the polls whose waiting time is over, oldest first.

        The answers are spread over several ticks: a hundred thousand devices answered together would poll again
        together.
        """
        if not self._wait:
            return
        most = max(1_000, len(self._waiting) // 4)
        over: list[LongPoll] = []
        for poll in self._waiting.values():
            if now - poll.since < self._wait or len(over) >= most:
                break
            over.append(poll)
        for poll in over:
            self._answer(poll, 204)

    def release(self) -> None:
        """Answer all polls, so that the devices reconnect to another process before this process ends."""
        for poll in list(self._waiting.values()):
            self._answer(poll, 204)

    # -- notifications of the store --------------------------------------------------------------------------

    def message(self, instance: bytes, message: bytes) -> None:
        """Deliver a message that was queued for an instance without queued messages."""
        poll = self._waiting.get(instance)
        if poll is not None and not poll.asking:
            self._answer(poll, 200, message)

    def superseded(self, instance: bytes) -> None:
        """Answer the poll of an instance whose newer poll waits in another process."""
        poll = self._waiting.get(instance)
        if poll is not None and not poll.asking:
            self._answer(poll, 204)

    def unregistered(self, instance: bytes) -> None:
        """Answer the poll of an instance whose last registration has ended."""
        poll = self._waiting.get(instance)
        if poll is not None and not poll.asking:
            self._answer(poll, 410)

    def recheck(self) -> None:
        """Ask the store for every waiting poll: notifications may have been missed."""
        for poll in list(self._waiting.values()):
            self._ask(poll)

    def _ask(self, poll: LongPoll) -> None:
        poll.asking = True
        poll.turn += 1
        turn, instance = poll.turn, poll.instance

        def found(reply: Reply) -> None:
            if poll.turn == turn and self._waiting.get(instance) is poll:
                self._on_reply(poll, reply)

        self._store.poll(instance, poll.last, found)

    def _on_reply(self, poll: LongPoll, reply: Reply) -> None:
        if isinstance(reply, ConnectionLost):
            return  # `recheck` follows on the next connection; the device need not notice
        if isinstance(reply, StoreDown):
            self._answer(poll, 503)
        elif reply == 0:
            self._answer(poll, 404)
        elif reply:
            self._answer(poll, 200, reply)
        else:
            poll.asking = False

    def _answer(self, poll: LongPoll, status: int, body: bytes = b"") -> None:
        del self._waiting[poll.instance]
        poll.asking = False
        poll.answer(status, body)
