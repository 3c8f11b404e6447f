"""Cancels pings: the durable step behind `DELETE /rc/v1/pings/{ping_id}`.

The id of a queued ping is added to the set of cancelled pings, which all workers poll
(`gateway.fanout.cancellation_watch`). A scheduled ping is removed from the schedule immediately; its receipt and the
event of its completion (`gateway.queue.outbox`) are written in the same step.
"""

import hashlib
from collections.abc import Callable
from typing import Any, Final

from gateway.errors import CancellationsFull, NotFound, NotStored, PingFinished, StoreDown, UnreadableEntry
from gateway.queue import cancellation_scripts
from gateway.queue.broadcasts import last_users
from gateway.queue.entries import encode
from gateway.queue.everybody import is_to_everybody
from gateway.queue.outbox import EventPlan, FinishedPing, SettledEvents
from gateway.queue.producer import REPLICATE_S
from gateway.queue.receipts import (
    CANCELLED,
    DONE,
    SCHEDULED,
    PingRecord,
    Receipts,
    pack_delta,
    split,
)
from gateway.queue.scheduled_batch import ScheduledBatch, read_scheduled
from gateway.store import keys
from gateway.store.connection import Argument, RedisConnection

_ATTEMPTS: Final = 5
"""Attempts to cancel a ping that changes between the reads and the writes: it is released, or another ping of its batch
is cancelled."""
_CHANGED: Final = "changed"
_FULL: Final = "full"


class PingCanceller:
    """Cancels pings.

    Args:
        connection: to the queue's Redis, without blocking commands. With `replicas` it waits for them.
        receipts: reads the state of a ping.
        receipt_s: lifetime of receipts.
        plan: the events that the endpoints of webhooks receive.
        replicas: number of replicas that must have a cancellation before it is reported.
        count: counts the recipients that a scheduled ping names when it is cancelled; None: nobody counts them. The
            workers count those of every other ping.
    """

    def __init__(
        self,
        connection: RedisConnection,
        receipts: Receipts,
        receipt_s: int,
        plan: EventPlan,
        *,
        replicas: int = 0,
        count: Callable[[int], None] | None = None,
    ) -> None:
        self._count = count
        self._plan = plan
        self._connection = connection
        self._receipts = receipts
        self._receipt_s = receipt_s + keys.RECEIPT_SLACK_S
        self._replicas = replicas

    async def cancel(self, ping_id: str) -> str:
        """Cancel a ping, durably; a repetition has the same result.

        Returns:
            Its state: `open` while deliveries may be in flight, `cancelled` once it is finished.

        Raises:
            NotFound: the ping is unknown, or its receipt has expired.
            PingFinished: it was finished before.
            NotStored: it is on the schedule in a batch that cannot be read.
            CancellationsFull: too many pings are cancelled and not finished.
            StoreDown: Redis did not answer, or no replica has the cancellation; it may be repeated.
        """
        outcome = _CHANGED
        for _ in range(_ATTEMPTS):
            outcome = await self._attempt(ping_id)
            if outcome != _CHANGED:
                break
        if outcome == DONE:
            raise PingFinished("the ping is finished: there is nothing to cancel", field="ping_id")
        if outcome == _FULL:
            raise CancellationsFull(f"{keys.CANCELLED_MAX} pings are cancelled and not finished")
        if outcome == _CHANGED:
            raise StoreDown("the ping changes too often to be cancelled; repeat the request")
        await self._replicate()
        return outcome

    async def _attempt(self, ping_id: str) -> str:
        report = await self._receipts.report(ping_id)
        if report is None:
            raise NotFound("the ping is unknown, or its receipt has expired", field="ping_id")
        batch, ping_index = split(ping_id)
        if report["state"] == SCHEDULED:
            return await self._cancel_scheduled(batch, ping_index)
        names = [keys.CANCELLED, keys.CANCELLED_VERSION, keys.receipt(batch), keys.RECEIPTS]
        words: list[Argument] = [ping_id, ping_index, keys.CANCELLED_S, self._receipt_s, keys.CANCELLED_MAX]
        outcome = await self._call(cancellation_scripts.CANCEL, names, words)
        if outcome != DONE or report["state"] == DONE:
            return outcome
        # The receipt of a finished ping lists the devices that were left out, also after its mark has expired. One
        # that was open was read before the end of the ping: the next attempt reads whether the ping was cancelled.
        return CANCELLED if report["state"] == CANCELLED else _CHANGED

    async def _cancel_scheduled(self, batch_id: str, ping_index: int) -> str:
        try:
            found = await read_scheduled(self._connection, batch_id)
        except UnreadableEntry as error:
            raise NotStored("the scheduled batch of this ping cannot be read", field="ping_id") from error
        if found is None or not found.has(ping_index):
            return _CHANGED
        rest = found.without(ping_index)
        users = await self._users(found, ping_index)
        skipped = {CANCELLED: users} if users else {}
        record = pack_delta(PingRecord(skipped=skipped, apps=found.entry.pings[ping_index].apps))
        events = SettledEvents(batch_id, (FinishedPing(ping_index, cancelled=users),))
        names = [keys.SCHEDULED_PINGS, keys.SCHEDULED_BODIES, keys.STATS]
        names += [keys.receipt(batch_id), keys.RECEIPTS, keys.WEBHOOK_EVENTS, keys.WEBHOOK_OUTBOX]
        words: list[Argument] = [batch_id, hashlib.sha1(found.body, usedforsecurity=False).hexdigest()]
        words += [rest.body if rest else b"", found.size - (rest.size if rest else 0), ping_index, record]
        words += [self._receipt_s, self._plan.limit, encode(events) if self._plan.completed else b""]
        outcome = await self._call(cancellation_scripts.CANCEL_SCHEDULED, names, words)
        if outcome == CANCELLED and self._count is not None:
            self._count(users)
        return outcome

    async def _users(self, found: ScheduledBatch, ping_index: int) -> int:
        """Return the number of recipients that a scheduled ping names; all users count as one, since they are not
        counted yet.

        All chunks of a broadcast but the last have the same number of users.
        """
        ping = found.entry.pings[ping_index]
        if not found.is_broadcast:
            return ping.named
        if is_to_everybody(ping):
            return 1
        ping_id = f"{found.entry.batch_id}{ping_index:04x}"
        end = found.entry.chunk_count
        return (end - 1) * keys.CHUNK_USERS + await last_users(self._connection, ping_id, end)

    async def _call(self, script: Any, names: list[str], words: list[Argument]) -> str:
        reply: bytes = await self._connection.eval(script, names, words)
        return reply.decode()

    async def _replicate(self) -> None:
        """Wait until enough replicas have this connection's last write."""
        if not self._replicas:
            return
        copies = await self._connection.call("WAIT", self._replicas, int(REPLICATE_S * 1000))
        if int(copies) < self._replicas:
            raise StoreDown("no replica has this cancellation yet; repeat the request")
