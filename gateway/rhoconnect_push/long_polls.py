"""The polls that wait in this process: one for each instance, without a task or timer of its own.

A poll is *asking* from when it comes until the store has told what is queued; then it is answered, or it
waits. What the channel says about an instance that is asking is in the store's reply too
(`gateway.mailbox.store`), so it is passed over: an acknowledged message is not delivered again.
"""

from typing import Protocol

from gateway.errors import StoreDown
from gateway.mailbox.store import MailboxStore
from gateway.store.connection import ConnectionLost, Reply


class LongPoll(Protocol):
    """A connection whose device waits for a message.

    Attributes:
        instance: whose poll it is.
        last: what it acknowledges; 0: nothing.
        turn: grows with each question to the store, so that a late reply is known as such.
        asking: the store has not yet told.
        since: the tick at which the poll came.
    """

    instance: bytes
    last: int
    turn: int
    asking: bool
    since: int

    def answer(self, status: int, body: bytes = b"") -> None:
        """End the poll."""


class LongPolls:
    """All polls of this process.

    Args:
        store: what is queued.
        wait: ticks after which a poll is answered with 204; 0: never.
    """

    def __init__(self, store: MailboxStore, wait: int) -> None:
        self._store = store
        self._wait = wait
        # In the order of their beginnings: the oldest is first.
        self._waiting: dict[bytes, LongPoll] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def asking(self) -> int:
        """How many of them the store has not answered yet."""
        return sum(poll.asking for poll in self._waiting.values())

    def begin(self, poll: LongPoll, instance: str, last: int, now: int) -> None:
        """A device asks for its next message. An older poll of the same instance is answered: 204."""
        poll.instance = instance.encode()
        poll.last = last
        poll.since = now
        older = self._waiting.pop(poll.instance, None)
        self._waiting[poll.instance] = poll
        self._ask(poll)
        if older is not None:
            older.answer(204)

    def end(self, poll: LongPoll) -> None:
        """Its connection is gone."""
        if self._waiting.get(poll.instance) is poll:
            del self._waiting[poll.instance]

    def tick(self, now: int) -> None:
        """Answer those that have waited long enough, the oldest first.

        Not all in one second: a hundred thousand devices that came together would come again together.
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
        """Answer all: this process ends, and they come again at once to another."""
        for poll in list(self._waiting.values()):
            self._answer(poll, 204)

    # -- what the store tells
    # ---------------------------------------------------------------------------------------------

    def message(self, instance: bytes, message: bytes) -> None:
        """A message was queued for an instance that had none."""
        poll = self._waiting.get(instance)
        if poll is not None and not poll.asking:
            self._answer(poll, 200, message)

    def superseded(self, instance: bytes) -> None:
        """A newer poll of this instance waits in another process."""
        poll = self._waiting.get(instance)
        if poll is not None and not poll.asking:
            self._answer(poll, 204)

    def unregistered(self, instance: bytes) -> None:
        """The last registration of this instance ended."""
        poll = self._waiting.get(instance)
        if poll is not None and not poll.asking:
            self._answer(poll, 410)

    def recheck(self) -> None:
        """The channel was not heard for a while: ask for all."""
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
            return  # `recheck` comes with the next connection; the device need not know
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
