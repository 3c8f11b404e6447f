"""The producer of the schedule: it appends pings with `deliver_at` as `QueueProducer` appends pings to the queue."""

from typing import Final, Protocol

from gateway.clock import SHARED_CLOCK, SharedClock
from gateway.queue.append_batch import AppendBatch, IdempotencyKey, OnAppended
from gateway.queue.ping_queue import BacklogLimits, PingQueue
from gateway.queue.producer import QueueProducer
from gateway.queue.schedule import SCHEDULE, body_of
from gateway.store import keys
from gateway.store.connection import RedisConnection, Script
from protocols.errors import InvalidField
from protocols.ping.model import Ping

_AHEAD_DAYS: Final = keys.SCHEDULE_AHEAD_S // 86_400


class IngressQueue(PingQueue, Protocol):
    """Receiver of accepted pings, for immediate or later delivery (`QueueProducer`)."""

    def at(self, deliver_at_ms: int) -> PingQueue:
        """The queue for pings of this instant, epoch milliseconds.

        Raises:
            InvalidField: it is too far ahead.
        """
        ...


class ScheduleProducer(QueueProducer):
    """Accepts scheduled pings from the ingresses, and reports when they are durable.

    Consecutive pings of one instant share a batch.

    Args:
        connection: as for `QueueProducer`.
        limits: `limits.scheduled_pings` and `limits.scheduled_bytes`.
        queue: receives pings whose time has passed, and gets this schedule for its own callers.
        replicas: as for `QueueProducer`.
        clock: the clock of the queue's Redis.
    """

    def __init__(
        self,
        connection: RedisConnection,
        limits: BacklogLimits,
        queue: QueueProducer,
        *,
        replicas: int = 0,
        clock: SharedClock = SHARED_CLOCK,
    ) -> None:
        super().__init__(connection, limits, replicas=replicas)
        self._queue = queue
        queue.schedule = self.at
        self._clock = clock

    def at(self, deliver_at_ms: int) -> PingQueue:
        """The queue for pings of this instant, epoch milliseconds: the ordinary queue if the instant has passed.

        Raises:
            InvalidField: it is further ahead than `keys.SCHEDULE_AHEAD_S`.
        """
        ahead_ms = deliver_at_ms - self._clock.now_ms()
        if ahead_ms <= 0:
            return self._queue
        if ahead_ms > keys.SCHEDULE_AHEAD_S * 1000:
            raise InvalidField(f"deliver_at may be at most {_AHEAD_DAYS} days ahead", field="deliver_at")
        return _Instant(self, deliver_at_ms)

    def submit_at(
        self, due_ms: int, ping: Ping, size: int, done: OnAppended, key: IdempotencyKey | None
    ) -> str:
        """Submit a ping for this instant, as `submit` does."""
        if due_ms != self._due_ms:
            if self._open is not None:
                self._close_batch(self._open)
            self._due_ms = due_ms
        return self.submit(ping, size, done, key=key)

    def _new_batch(self, stream: str) -> AppendBatch:
        return AppendBatch(stream, self._due_ms)

    def _command(
        self, batch: AppendBatch, payload: bytes, _: str
    ) -> tuple[Script, list[str], list[str | int | bytes]]:
        names = [keys.SCHEDULED_PINGS, keys.marker(batch.id, batch.attempt), keys.STATS]
        words: list[str | int | bytes] = [len(batch.pings), batch.size, self.limits.pings, self.limits.bytes]
        words += [keys.MARKER_S, body_of(batch, payload), batch.due_ms, batch.id]
        if batch.keyed is not None:
            batch.add_idempotency_keys(names, words)
        return SCHEDULE, names, words


class _Instant:
    """The schedule for pings of one instant.

    Args:
        schedule: receives the pings.
        due_ms: the instant, epoch milliseconds.
    """

    __slots__ = ("_due_ms", "_schedule")

    def __init__(self, schedule: ScheduleProducer, due_ms: int) -> None:
        self._schedule = schedule
        self._due_ms = due_ms

    def submit(self, ping: Ping, size: int, done: OnAppended, *, key: IdempotencyKey | None = None) -> str:
        """Schedule a ping; see `PingQueue.submit`."""
        return self._schedule.submit_at(self._due_ms, ping, size, done, key)
