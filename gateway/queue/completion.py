"""Doors that wait for the end of a ping (`wait=true`), whichever process delivers it.

The ping carries the channel of the process whose door waits. Where that process delivers it, too, and all its sends
are settled at once, the door hears so directly (`Waiters.hear`); otherwise settling its last send publishes the
ping's id there, and with it the whole record, if one settlement has it. One connection a process listens. A
message can be missed (a lost connection), so whoever waits also looks for itself.
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
from gateway.store.address import Address
from gateway.store.connection import Link, Reply
from gateway.store.subscriptions import Channel, Subscriptions

LOOK_S: Final = 2.0
"""How often a waiting door looks for itself."""
ALONE_S: Final = 0.25
"""The same where Redis refuses the channel to its user: then nothing but the look tells."""
_PROVE_S: Final = 5.0


class Heard:
    """What one door has heard of its ping.

    Attributes:
        event: set when the end of the ping was heard of.
        record: what became of it, packed; b"": that was not said.
    """

    __slots__ = ("event", "record")

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.record = b""


class Waiters:
    """The doors of this process that wait.

    Args:
        address: the queue's Redis.
        receipts: where the outcome stands.
    """

    def __init__(self, address: Address, receipts: Receipts) -> None:
        self.channel = keys.done_channel(secrets.token_hex(8))
        """What goes into `Ping.reply_to`."""
        self._receipts = receipts
        self._doors: dict[str, list[Heard]] = {}
        lost = f"answers to wait=true come up to {ALONE_S} s later"
        self._subscriptions = Subscriptions(lambda: self._link, [Channel(self.channel, lost)])
        self._link = Link(
            address, "waiters", reply_s=3.0, on_push=self._pushed, on_up=self._subscriptions.begin
        )
        self._prover: asyncio.Task[None] | None = None
        self._hurried = False

    async def open(self) -> None:
        """Begin to listen."""
        await self._link.open(10.0)
        self._prover = asyncio.create_task(self._prove(), name="waiters:prove")

    async def close(self) -> None:
        """Stop listening."""
        if self._prover is not None:
            self._prover.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._prover
        self._subscriptions.close()
        await self._link.close()

    @contextlib.contextmanager
    def expecting(self, ping_id: str) -> Iterator[Heard]:
        """Listen for the end of a ping, best from before its append."""
        heard = Heard()
        doors = self._doors.setdefault(ping_id, [])
        doors.append(heard)
        try:
            yield heard
        finally:
            doors.remove(heard)
            if not doors:
                self._doors.pop(ping_id, None)

    async def outcome(
        self, ping_id: str, timeout_s: float, heard: Heard | None = None
    ) -> dict[str, Any] | None:
        """The ping's report once it is finished; None: not within `timeout_s`, or not before `hurry`.

        Args:
            heard: of `expecting`, since before the append. There is nothing to look at until something was
                heard, and three round trips to Redis stay out of the ping's way.
        """
        try:
            async with asyncio.timeout(timeout_s):
                if heard is None:
                    with self.expecting(ping_id) as late:
                        return await self._look(ping_id) or await self._listen(ping_id, late)
                return await self._listen(ping_id, heard)
        except TimeoutError:
            return None

    def hear(self, ping_id: str, record: bytes) -> None:
        """A ping is over; what became of it, packed, or b"": that was not said."""
        for heard in self._doors.get(ping_id, ()):
            heard.record = record
            heard.event.set()

    def hurry(self) -> None:
        """This process is about to end: whoever waits is told what there is now."""
        self._hurried = True
        for doors in self._doors.values():
            for heard in doors:
                heard.event.set()

    async def _listen(self, ping_id: str, heard: Heard) -> dict[str, Any] | None:
        while True:
            with contextlib.suppress(TimeoutError):
                # Not `wait_for`, which makes a task of its own.
                async with asyncio.timeout(0 if self._hurried else self._look_s):
                    await heard.event.wait()
            with contextlib.suppress(msgspec.DecodeError):
                if heard.record:
                    return report_of(ping_id, heard.record)
            heard.event.clear()  # before the look: what comes during it must not be missed
            report = await self._look(ping_id)
            if report is not None or self._hurried:
                return report

    async def _look(self, ping_id: str) -> dict[str, Any] | None:
        try:
            report = await self._receipts.report(ping_id)
        except StoreDown:
            return None
        return report if report is not None and report["state"] == "done" else None

    @property
    def _look_s(self) -> float:
        return ALONE_S if self._subscriptions.refused else LOOK_S

    def _pushed(self, message: Reply) -> None:
        if message[0] == b"message":
            ping_id, record = message[2][:PING_ID_LENGTH], message[2][PING_ID_LENGTH:]
            self.hear(ping_id.decode("ascii", "replace"), record)

    async def _prove(self) -> None:
        while True:
            await asyncio.sleep(_PROVE_S)
            self._link.post("PING")
