"""Producer of the queue, with group commit.

All pings that arrive during an append go together into the next one: one XADD, one round trip and one marker for
up to `ENTRY_PINGS` pings. Pings with an Idempotency-Key share entries of their own: the script either writes the
entry and all of its keys, or nothing if one of them was used before (`_regroup`). If a commit does not fit into the
room of the backlog, its first pings are appended, as many as fit (`_append_what_fits`).

The callback of a ping runs once the append is durable. A lost reply never leads to a blind retry: the marker is
read first (`_resolve`), and that read also prevents the append permanently if it has not happened yet.

A worker that has room leases the entries that it appends (`LocalConsumer`): the step that makes a batch durable
also leases it, so that fan-out needs neither a second round trip nor a second decoding.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, Protocol

import msgspec

from gateway.errors import (
    PossiblyAccepted,
    QueueFull,
    RhoPushError,
    ScheduleFull,
    StoreDown,
)
from gateway.queue import scripts
from gateway.queue.append_batch import Accepted, AppendBatch, IdempotencyKey, OnAppended
from gateway.queue.append_reply import error_of, lease_of, plain_error
from gateway.queue.broadcast_users import BroadcastUsers
from gateway.queue.entries import Entry, Lease
from gateway.queue.everybody import is_to_everybody
from gateway.queue.keyed_batches import KeyedBatches
from gateway.queue.ping_queue import BacklogLimits, PendingAppend, PingQueue
from gateway.scheduling.scheduler import Scheduler
from gateway.store import keys
from gateway.store.connection import ConnectionLost, RedisConnection, Reply, Script
from gateway.telemetry.values import Histogram
from protocols.numbers import stored
from protocols.ping.model import Ping

RESOLVE_S: Final = 4.0
"""Longest wait of a caller for the outcome of an append whose reply was lost."""
REPLICATE_S: Final = 1.0
"""Longest wait for replicas; shorter than the append's own deadline, which already runs for the next append."""
_NO_REPLICA: Final = "no replica has this ping yet; it is accepted unless this Redis fails"
_WAITING_BYTES: Final = 64 * 1024 * 1024
"""Most bytes of pings, besides broadcasts, held in this process while Redis is slow; beyond this limit a ping is
refused with 503 immediately."""
_SLOW: Final = "pings arrive faster than Redis stores them"


class LocalConsumer(Protocol):
    """A consumer of the queue in this process. Its methods are called from the event loop and do not block."""

    @property
    def name(self) -> str:
        """Name of the consumer that holds the leases."""
        ...

    def has_room(self) -> bool:
        """Whether the consumer should get the next entry, instead of the first reader of the stream."""
        ...

    def prefetch(self, entry: Entry) -> None:
        """Prepare for an entry that is being appended; the consumer gets its lease unless the append fails or an
        older entry waits."""
        ...

    def take(self, lease: Lease) -> None:
        """Deliver this entry, which is leased to the consumer."""
        ...

    def recover(self) -> None:
        """Search for entries leased to the consumer by a script whose reply was lost."""
        ...


class QueueProducer:
    """Appends pings to the queue and reports when they are durable.

    Args:
        connection: connection to the queue's Redis, without blocking commands.
        limits: limits of the backlog.
        replicas: number of replicas that must have an append before it is reported (`queue.durability: replicas`).
        local_consumer: delivers entries that are appended here, while it has room; None: only readers of the
            stream do.
        scheduler: is notified of small pings on their way to Redis; a new one by default.
    """

    def __init__(
        self,
        connection: RedisConnection,
        limits: BacklogLimits,
        *,
        replicas: int = 0,
        local_consumer: LocalConsumer | None = None,
        scheduler: Scheduler | None = None,
    ) -> None:
        self._connection = connection
        self._scheduler = Scheduler() if scheduler is None else scheduler
        self._local_consumer = local_consumer
        self.limits = limits
        """The limits in force; replaced when settings are reloaded."""
        self.schedule: Callable[[int], PingQueue] | None = None
        """Gives the queue for pings of an instant in epoch ms (`ScheduleProducer.at`)."""
        self.seconds: Histogram | None = None  # counts the stage `APPEND` of the pings
        self._replicas = replicas
        self._open: AppendBatch | None = None
        self._keyed = KeyedBatches(self._small_batch)
        self._due_ms = 0
        """The `deliver_at` of new batches, epoch ms; 0: they are not scheduled."""
        self._ready: list[AppendBatch] = []
        self._waiting_bytes = 0
        self._broadcast_users = BroadcastUsers(connection)
        self._committing = 0
        self._commit_pending = False
        self._encode = msgspec.msgpack.Encoder().encode
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._idle = asyncio.Event()

    def submit(self, ping: Ping, size: int, done: OnAppended, *, key: IdempotencyKey | None = None) -> str:
        """Submit a ping; `done` is called once, with its outcome.

        Args:
            ping: a ping with at most `limits.users_per_ping` users; its `id` is assigned here.
            size: bytes of the ping, for the limit of the backlog.
            done: gets None, or `Accepted` if the ping is a repeat, or `QueueFull`, `StoreDown`, `PossiblyAccepted`
                or `IdempotencyConflict`.
            key: the caller's Idempotency-Key.

        Returns:
            The ping's id, valid for every outcome.
        """
        if len(ping.users) > keys.BROADCAST_USERS or (ping.to is not None and is_to_everybody(ping)):
            return self._submit_broadcast(ping, size, done, key)
        if key is None and ping.reply_to is None:
            batch = self._open
            if batch is None:
                batch = self._open = self._small_batch()
        elif key is not None and ping.reply_to is None:
            batch = self._keyed.batch_of(key, self._due_ms)
        else:
            # In an entry of its own: a waiting caller should not wait for slow devices of unrelated pings.
            batch = self._small_batch()
            self._ready.append(batch)
        ping_id = batch.add(ping, size, done) if key is None else batch.add_keyed(ping, size, done, key)
        self._waiting_bytes += size
        if batch.full:
            self._close_batch(batch)
        if self._waiting_bytes > _WAITING_BYTES:
            self._refuse_all(QueueFull(_SLOW))
        elif not self._commit_pending and not self._committing:
            self._commit_pending = True
            self._loop.call_soon(self._commit)
        return ping_id

    async def append(self, ping: Ping, size: int, key: IdempotencyKey | None = None) -> Accepted:
        """Submit a ping and wait for its outcome; failures are raised."""
        outcome = await PendingAppend(self, ping, size, key).outcome()
        if isinstance(outcome, RhoPushError):
            raise outcome
        return outcome

    def at(self, deliver_at_ms: int) -> PingQueue:
        """The queue for pings of this instant, epoch ms.

        Raises:
            InvalidField: it is too far ahead.
            ScheduleFull: this process does not schedule pings.
        """
        if self.schedule is None:
            raise ScheduleFull("this process does not schedule pings")
        return self.schedule(deliver_at_ms)

    async def close(self) -> None:
        """Wait until every submitted ping has an outcome."""
        while self._committing or self._commit_pending or self._tasks:
            self._idle.clear()
            await self._idle.wait()

    def _small_batch(self) -> AppendBatch:
        self._scheduler.small_started()  # until `_finish`, broadcasts yield to small pings
        return self._new_batch(keys.PINGS)

    def _new_batch(self, stream: str) -> AppendBatch:
        return AppendBatch(stream)

    def _close_batch(self, batch: AppendBatch) -> None:
        """Close a batch to further pings."""
        if batch is self._open:
            self._open = None
            self._ready.append(batch)
        else:
            self._keyed.close(batch)

    def _notify(self, batch: AppendBatch, outcome: RhoPushError | None) -> None:
        """Report the outcome of a batch."""
        self._finish(batch)
        batch.notify(outcome, self.seconds)

    def _finish(self, batch: AppendBatch) -> None:
        if batch.stream == keys.PINGS:
            self._scheduler.small_finished()

    def _regroup(self, batch: AppendBatch, outcomes: Sequence[bytes]) -> None:
        """Answer the pings whose keys were used before, and append the others: none of the batch was written.

        Args:
            batch: the batch whose append was refused.
            outcomes: for each key: empty, `conflict`, or the id of the first ping with that key.
        """
        rest = self._following(batch)
        self._finish(batch)
        batch.regroup(outcomes, rest)
        if rest.pings:
            self._send(rest, Entry(rest.id, rest.accepted_ms, tuple(rest.pings)))
        else:
            self._finish(rest)

    def _following(self, batch: AppendBatch) -> AppendBatch:
        """A new batch for pings of a batch that Redis refused."""
        following = self._small_batch() if batch.stream == keys.PINGS else AppendBatch(batch.stream)
        following.due_ms = batch.due_ms
        return following

    def _append_what_fits(self, batch: AppendBatch, held: int, error: RhoPushError) -> bool:
        """Append the first pings of a batch that does not fit into the room of the backlog; False: none of them fits.

        Args:
            batch: the batch whose append was refused.
            held: number of pings that Redis has.
            error: the outcome of the others.
        """
        room = self.limits.pings - held
        if not 0 < room < len(batch.pings):  # else there is no room, or too little for the bytes
            return False
        first = self._following(batch)
        self._finish(batch)
        for done in batch.split_off(room, first):
            done(error)
        self._send(first, Entry(first.id, first.accepted_ms, tuple(first.pings)))
        return True

    # -- committing ------------------------------------------------------------------------------------------

    def _commit(self) -> None:
        self._commit_pending = False
        batches = self._take_waiting()
        for batch in batches:
            self._send(batch, Entry(batch.id, batch.accepted_ms, tuple(batch.pings)))
        if not self._committing:
            self._idle.set()

    def _send(self, batch: AppendBatch, entry: Entry) -> None:
        local_consumer = self._local_consumer
        if local_consumer is not None and (batch.stream != keys.PINGS or not local_consumer.has_room()):
            local_consumer = None
        payload = self._encode(entry)
        script, names, words = self._command(
            batch, payload, "" if local_consumer is None else local_consumer.name
        )
        self._committing += 1

        def replied(reply: Reply) -> None:
            self._committing -= 1
            if isinstance(reply, ConnectionLost) and reply.sent:
                self._spawn(self._resolve(batch, entry, local_consumer))
            elif self._replicas and not isinstance(reply, StoreDown):
                self._spawn(self._replicate(batch, reply))
            else:
                self._on_reply(batch, reply)
            if local_consumer is not None and not isinstance(reply, StoreDown) and len(reply) > 2:
                local_consumer.take(lease_of(batch, payload, entry, reply))
            if not self._committing:
                self._idle.set()
                if self._open is not None or self._ready or self._keyed.waiting:
                    self._commit()

        self._connection.eval_then(script, names, words, replied)
        if local_consumer is not None:
            local_consumer.prefetch(entry)

    def _command(
        self, batch: AppendBatch, payload: bytes, consumer: str
    ) -> tuple[Script, list[str], list[str | int | bytes]]:
        """`scripts.APPEND`, its KEYS and its ARGV."""
        names = [batch.stream, keys.marker(batch.id, batch.attempt), keys.STATS]
        words: list[str | int | bytes] = [len(batch.pings), batch.size, self.limits.pings, self.limits.bytes]
        words += (keys.MARKER_S, payload, keys.GROUP, consumer)
        if batch.keyed is not None:
            batch.add_idempotency_keys(names, words)
        return scripts.APPEND, names, words

    async def _resolve(self, batch: AppendBatch, entry: Entry, local_consumer: LocalConsumer | None) -> None:
        """Find the outcome of an append whose reply was lost; append again only if the first append can never
        happen."""
        try:
            async with asyncio.timeout(RESOLVE_S):
                await self._connection.wait_up()
                marker = await self._connection.eval(
                    scripts.FENCE, [keys.marker(batch.id, batch.attempt)], [keys.MARKER_S]
                )
        except (StoreDown, TimeoutError) as error:
            lost = PossiblyAccepted(
                "the connection to Redis was lost while this ping was appended; query its id later"
            )
            lost.__cause__ = error
            self._notify(batch, lost)
            if local_consumer is not None:
                local_consumer.recover()
            return
        if marker != keys.VOID:
            self._notify(batch, None if await self._replicated() else PossiblyAccepted(_NO_REPLICA))
            if local_consumer is not None:
                local_consumer.recover()
            return
        batch.attempt += 1
        self._send(batch, entry)

    async def _replicate(self, batch: AppendBatch, reply: Reply) -> None:
        """Report the outcome once enough replicas have the append, or the earlier append with the same
        Idempotency-Key."""
        word = reply[0]
        if word not in (b"done", b"known") or await self._replicated():
            self._on_reply(batch, reply)
        elif word == b"done":
            self._notify(batch, PossiblyAccepted(_NO_REPLICA))
        else:  # Not `PossiblyAccepted`: there is no ping with the id that this caller got.
            self._notify(
                batch,
                StoreDown("no replica has this ping yet; repeat the request with the same Idempotency-Key"),
            )

    def _on_reply(self, batch: AppendBatch, reply: Reply) -> None:
        if not isinstance(reply, StoreDown) and reply[0] == b"known":
            self._regroup(batch, reply[1])
            return
        outcome = error_of(reply)
        if isinstance(outcome, QueueFull | ScheduleFull) and self._append_what_fits(
            batch, stored(reply[1]), outcome
        ):
            return
        self._notify(batch, outcome)

    async def _replicated(self) -> bool:
        """Whether replicas have this connection's last write (WAIT returns their number even after its time-out)."""
        if not self._replicas:
            return True
        try:
            copies = await self._connection.call("WAIT", self._replicas, int(REPLICATE_S * 1000))
        except StoreDown:
            return False
        return int(copies) >= self._replicas

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._idle.set()

    def _refuse_all(self, error: RhoPushError) -> None:
        while batches := self._take_waiting():
            for batch in batches:
                self._notify(batch, error)

    def _take_waiting(self) -> list[AppendBatch]:
        """The batches of the next commit."""
        if self._open is not None:
            self._close_batch(self._open)
        batches, self._ready = [*self._ready, *self._keyed.take()], []
        self._waiting_bytes = 0
        return batches

    # -- broadcasts ------------------------------------------------------------------------------------------

    def _submit_broadcast(self, ping: Ping, size: int, done: OnAppended, key: IdempotencyKey | None) -> str:
        batch = self._new_batch(keys.BROADCASTS)
        if not self._broadcast_users.reserve(size):
            done(QueueFull(_SLOW))
            return batch.add(ping, size, done)

        def on_result(outcome: Accepted | RhoPushError | None) -> None:
            refused = outcome is not None and not isinstance(outcome, PossiblyAccepted)
            self._broadcast_users.end(ping_id, size, refused=refused)
            done(outcome)

        without_users = msgspec.structs.replace(ping, users=())
        if key is None:
            ping_id = batch.add(without_users, size, on_result)
        else:
            ping_id = batch.add_keyed(without_users, size, on_result, key)
        self._spawn(self._append_broadcast(batch, ping_id, ping.users))
        return ping_id

    async def _append_broadcast(self, batch: AppendBatch, ping_id: str, users: tuple[str, ...]) -> None:
        """Store the users beside the queue first (repeatable, since each chunk has its index), then append."""
        try:
            chunks = await self._broadcast_users.store(ping_id, users, batch.wait_s)
        except StoreDown as error:
            self._notify(batch, plain_error(error))
            return
        self._send(batch, Entry(batch.id, batch.accepted_ms, tuple(batch.pings), chunks))
