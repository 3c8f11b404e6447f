"""Requests that wait for the completion of a ping (`wait=true`), in whichever process it is delivered.

The ping carries the channel of the process that has the waiting request. If the same process delivers the ping and
all its deliveries are settled together, the request is notified directly (`CompletionWaiters.complete`). Otherwise
the settlement of the last delivery publishes the ping's id on that channel, with the complete record if one
settlement has it. Each process subscribes with one connection. A message can be lost with a connection, so waiting
requests also poll the receipt.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from gateway.errors import StoreDown
from gateway.queue.receipts import FINISHED, PING_ID_LENGTH, Receipts, report_of
from gateway.scheduling.background import run_in_background
from gateway.store import keys
from gateway.store.address import RedisAddress
from gateway.store.connection import RedisConnection, Reply
from gateway.store.subscriptions import Channel, Subscriptions

POLL_S: Final = 2.0
"""Interval at which a waiting request polls the receipt."""
POLL_WITHOUT_CHANNEL_S: Final = 0.25
"""Polling interval if Redis refuses the channel to its user, so that no notification arrives."""
_PROBE_S: Final = 5.0


class Completion:
    """Completion of one ping, for one waiting request.

    Attributes:
        done: set when the ping is reported as finished.
        record: the packed record of the ping; b"" if the notification had none.
    """

    __slots__ = ("done", "record")

    def __init__(self) -> None:
        self.done = asyncio.Event()
        self.record = b""


class CompletionWaiters:
    """The waiting requests of this process.

    Args:
        address: the queue's Redis.
        receipts: reads the delivery reports.
    """

    def __init__(self, address: RedisAddress, receipts: Receipts) -> None:
        self.channel = keys.completion_channel(secrets.token_hex(8))
        """The value of `Ping.reply_to` for requests of this process."""
        self._receipts = receipts
        self._waiting: dict[str, list[Completion]] = {}
        consequence = f"answers to wait=true come up to {POLL_WITHOUT_CHANNEL_S} s later"
        self._subscriptions = Subscriptions(lambda: self._connection, [Channel(self.channel, consequence)])
        self._connection = RedisConnection(
            address, "waiters", reply_s=3.0, on_push=self._on_message, on_up=self._subscriptions.begin
        )
        self._probe_task: asyncio.Task[None] | None = None
        self._ending = False

    async def open(self) -> None:
        """Open the connection and subscribe."""
        await self._connection.open(10.0)
        self._probe_task = run_in_background(self._probe, "waiters:probe")

    async def close(self) -> None:
        """Unsubscribe and close the connection."""
        if self._probe_task is not None:
            self._probe_task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._probe_task
        self._subscriptions.close()
        await self._connection.close()

    @contextlib.contextmanager
    def waiting_for(self, ping_id: str) -> Iterator[Completion]:
        """Register a waiting request, preferably before the ping is appended."""
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
        """The ping's report once it is finished; None if it does not finish within `timeout_s` or before
        `end_waits`.

        Args:
            completion: the result of `waiting_for`, entered before the append. The receipt is then not read before
                a notification, which saves three round trips to Redis.
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
        """Report a finished ping with its packed record; b"" if the record is not included."""
        for completion in self._waiting.get(ping_id, ()):
            completion.record = record
            completion.done.set()

    def end_waits(self) -> None:
        """End all waits since this process is about to exit: each request gets the present report."""
        self._ending = True
        for completions in self._waiting.values():
            for completion in completions:
                completion.done.set()

    async def _wait(self, ping_id: str, completion: Completion) -> dict[str, Any] | None:
        while True:
            with contextlib.suppress(TimeoutError):
                # Not `wait_for`, which creates an extra task.
                async with asyncio.timeout(0 if self._ending else self._poll_s):
                    await completion.done.wait()
            with contextlib.suppress(msgspec.DecodeError):
                if completion.record:
                    return report_of(ping_id, completion.record)
            # Cleared before the read, so that a notification during the read is not lost.
            completion.done.clear()
            report = await self._read_receipt(ping_id)
            if report is not None or self._ending:
                return report

    async def _read_receipt(self, ping_id: str) -> dict[str, Any] | None:
        try:
            report = await self._receipts.report(ping_id)
        except StoreDown:
            return None
        return report if report is not None and report["state"] in FINISHED else None

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
