"""Doors that wait for the end of a ping (`wait=true`), whichever process delivers it.

The ping carries the channel of the process whose door waits; settling its last send publishes the ping's id
there. One connection a process listens. A message can be missed (a lost connection), so whoever waits also
looks for itself.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Iterator
from typing import Any, Final

from gateway.errors import StoreDown
from gateway.store import keys
from gateway.store.address import Address
from gateway.store.link import Link, Reply
from gateway.store.receipts import Receipts

LOOK_S: Final = 2.0
"""How often a waiting door looks for itself."""
_PROVE_S: Final = 5.0


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
        self._doors: dict[str, list[asyncio.Event]] = {}
        self._link = Link(address, "waiters", reply_s=3.0, on_push=self._pushed, on_up=self._up)
        self._prover: asyncio.Task[None] | None = None

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
        await self._link.close()

    @contextlib.contextmanager
    def expecting(self, ping_id: str) -> Iterator[asyncio.Event]:
        """Listen for the end of a ping, best from before its append. The event is set when it is heard of."""
        event = asyncio.Event()
        doors = self._doors.setdefault(ping_id, [])
        doors.append(event)
        try:
            yield event
        finally:
            doors.remove(event)
            if not doors:
                self._doors.pop(ping_id, None)

    async def outcome(
        self, ping_id: str, timeout_s: float, heard: asyncio.Event | None = None
    ) -> dict[str, Any] | None:
        """The ping's report once it is finished; None: not within `timeout_s`.

        Args:
            heard: of `expecting`, since before the append. There is nothing to look at until it is set, and two
                round trips to Redis stay out of the ping's way.
        """
        try:
            async with asyncio.timeout(timeout_s):
                if heard is None:
                    with self.expecting(ping_id) as event:
                        return await self._look(ping_id) or await self._listen(ping_id, event)
                return await self._listen(ping_id, heard)
        except TimeoutError:
            return None

    async def _listen(self, ping_id: str, event: asyncio.Event) -> dict[str, Any]:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):  # no task of its own, as `wait_for` makes one
                    await event.wait()
            event.clear()  # before the look: what comes during it must not be missed
            report = await self._look(ping_id)
            if report is not None:
                return report

    async def _look(self, ping_id: str) -> dict[str, Any] | None:
        try:
            report = await self._receipts.report(ping_id)
        except StoreDown:
            return None
        return report if report is not None and report["state"] == "done" else None

    def _up(self) -> None:
        self._link.say("SUBSCRIBE", self.channel)

    def _pushed(self, message: Reply) -> None:
        if message[0] == b"message":
            for event in self._doors.get(message[2].decode(), ()):
                event.set()

    async def _prove(self) -> None:
        while True:
            await asyncio.sleep(_PROVE_S)
            self._link.post("PING")
