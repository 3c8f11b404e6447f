"""Doors that wait for the end of a ping (`wait=true`), whichever process delivers it.

The ping carries the channel of the process whose door waits. Where that process delivers it, too, and all its sends
are settled at once, the door hears so directly (`CompletionWaiters.complete`); otherwise settling its last send
publishes the ping's id there, and with it the whole record, if one settlement has it. One connection a process listens.
A message can be missed (a lost connection), so whoever waits also looks for itself.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from gateway.errors import StoreDown
from gateway.queue.receipts import PING_ID_LENGTH, Receipts, report_of
from gateway.store import keys
from gateway.store.address import RedisAddress
from gateway.store.connection import RedisConnection, Reply
from gateway.store.subscriptions import Channel, Subscriptions

POLL_S: Final = 2.0
"""How often a waiting door looks for itself."""
POLL_WITHOUT_CHANNEL_S: Final = 0.25
"""The same where Redis refuses the channel to its user: then nothing but the look tells."""
_PROBE_S: Final = 5.0


class Completion:
    """What one door has heard of its ping.

    Attributes:
        done: set when the end of the ping was heard of.
        record: what became of it, packed; b"": that was not said.
    """

    __slots__ = ("done", "record")

    def __init__(self) -> None:
        self.done = asyncio.Event()
        self.record = b""


class CompletionWaiters:
    """The doors of this process that wait.

    Args:
        address: the queue's Redis.
        receipts: where the outcome stands.
    """

    def __init__(self, address: RedisAddress, receipts: Receipts) -> None:
        self.channel = keys.completion_channel(secrets.token_hex(8))
        """What goes into `Ping.reply_to`."""
        self._receipts = receipts
        self._waiting: dict[str, list[Completion]] = {}
        lost = f"answers to wait=true come up to {POLL_WITHOUT_CHANNEL_S} s later"
        self._subscriptions = Subscriptions(lambda: self._connection, [Channel(self.channel, lost)])
        self._connection = RedisConnection(
            address, "waiters", reply_s=3.0, on_push=self._on_message, on_up=self._subscriptions.begin
        )
        self._probe_task: asyncio.Task[None] | None = None
        self._ending = False

    async def open(self) -> None:
        """Begin to listen."""
        await self._connection.open(10.0)
        self._probe_task = asyncio.create_task(self._probe(), name="waiters:prove")

    async def close(self) -> None:
        """Stop listening."""
        if self._probe_task is not None:
            self._probe_task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._probe_task
        self._subscriptions.close()
        await self._connection.close()

    @contextlib.contextmanager
    def waiting_for(self, ping_id: str) -> Iterator[Completion]:
        """Listen for the end of a ping, best from before its append."""
        completion = Completion()
        completions = self._waiting.setdefault(ping_id, [])
        completions.append(completion)
        try:
            yield completion
        finally:
            completions.remove(completion)
            if not completions:
                self._waiting.pop(ping_id, None)

    async def outcome(
        self, ping_id: str, timeout_s: float, completion: Completion | None = None
    ) -> dict[str, Any] | None:
        """The ping's report once it is finished; None: not within `timeout_s`, or not before `end_waits`.

        Args:
            completion: of `waiting_for`, since before the append. There is nothing to look at until something was
                heard, and three round trips to Redis stay out of the ping's way.
        """
        try:
            async with asyncio.timeout(timeout_s):
                if completion is None:
                    with self.waiting_for(ping_id) as late:
                        return await self._read_receipt(ping_id) or await self._wait(ping_id, late)
                return await self._wait(ping_id, completion)
        except TimeoutError:
            return None

    def complete(self, ping_id: str, record: bytes) -> None:
        """A ping is over; what became of it, packed, or b"": that was not said."""
        for completion in self._waiting.get(ping_id, ()):
            completion.record = record
            completion.done.set()

    def end_waits(self) -> None:
        """This process is about to end: whoever waits is told what there is now."""
        self._ending = True
        for completions in self._waiting.values():
            for completion in completions:
                completion.done.set()

    async def _wait(self, ping_id: str, completion: Completion) -> dict[str, Any] | None:
        while True:
            with contextlib.suppress(TimeoutError):
                # Not `wait_for`, which makes a task of its own.
                async with asyncio.timeout(0 if self._ending else self._poll_s):
                    await completion.done.wait()
            with contextlib.suppress(msgspec.DecodeError):
                if completion.record:
                    return report_of(ping_id, completion.record)
            completion.done.clear()  # before the look: what comes during it must not be missed
            report = await self._read_receipt(ping_id)
            if report is not None or self._ending:
                return report

    async def _read_receipt(self, ping_id: str) -> dict[str, Any] | None:
        try:
            report = await self._receipts.report(ping_id)
        except StoreDown:
            return None
        return report if report is not None and report["state"] == "done" else None

    @property
    def _poll_s(self) -> float:
        return POLL_WITHOUT_CHANNEL_S if self._subscriptions.refused else POLL_S

    def _on_message(self, message: Reply) -> None:
        if message[0] == b"message":
            ping_id, record = message[2][:PING_ID_LENGTH], message[2][PING_ID_LENGTH:]
            self.complete(ping_id.decode("ascii", "replace"), record)

    async def _probe(self) -> None:
        while True:
            await asyncio.sleep(_PROBE_S)
            self._connection.send("PING")
