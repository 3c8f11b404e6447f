"""Resque's data in Redis, as a worker uses it: queues, jobs in hand, worker state and counters.

A taken job stays on the recovery list of its gateway until it is a durable ping or a recorded failure. If Resque and
the queue share a Redis, both happen in one step; otherwise the job's recovery id is the ping's Idempotency-Key, so
that a job that is processed twice is one ping.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec
import structlog

from gateway.clock import SHARED_CLOCK
from gateway.queue.append_batch import IdempotencyKey, new_batch
from gateway.queue.entries import Entry
from gateway.queue.ping_queue import BacklogLimits
from gateway.resque import scripts
from gateway.store import keys
from gateway.store.connection import Argument, RedisConnection, RedisReplyError
from protocols.ping.model import Ping
from protocols.resque.job import CLASSES

TAKEOVER_S: Final = 30.0
"""Time without a heartbeat after which another gateway takes over the jobs in hand of a gateway."""
TAKE_JOBS: Final = 100
TAKE_BYTES: Final = 1_000_000
"""One call of `take` ends with the job that exceeds this many bytes."""
DEPTH: Final = 200
"""Most jobs of other classes that may precede a job that is taken. Each of them costs Redis some 2 µs."""

_log = structlog.get_logger("resque")
_pack: Final = msgspec.msgpack.Encoder().encode


class TakenJob(NamedTuple):
    """A job in hand."""

    recovery_id: str
    queue: str
    item: bytes

    @property
    def key(self) -> IdempotencyKey:
        """The Idempotency-Key of this job if its ping is appended to another Redis."""
        scope = hashlib.sha256(b"resque\0" + self.recovery_id.encode()).digest()
        return IdempotencyKey(scope, hashlib.sha256(self.item).digest())


class ResqueStore:
    """Access of one gateway to Resque's data.

    Args:
        connection: the connection to Resque's Redis.
        names: Resque's keys.
        gateway: the name of this gateway, the same after a restart.
        worker_id: the worker's id, as Resque shows it.
    """

    def __init__(
        self, connection: RedisConnection, names: keys.ResqueKeys, gateway: str, worker_id: str
    ) -> None:
        self._connection = connection
        self._names = names
        self._gateway = gateway
        self._recovery_list = keys.RESQUE_TAKEN + gateway
        self.worker_id = worker_id
        self._unusable: set[str] = set()  # keys of Resque that have another type

    # -- jobs ------------------------------------------------------------------------------------------------

    async def queues(self) -> list[str]:
        """The names of Resque's queues. Raises StoreDown."""
        return [
            name.decode("utf-8", "replace")
            for name in await self._shown("SMEMBERS", self._names.queues) or ()
        ]

    async def take(self, queues: Sequence[str]) -> list[TakenJob]:
        """Take the next `PingJob` jobs; none while Resque is paused.

        Raises:
            StoreDown: some jobs may have been taken; `in_hand` returns them.
        """
        words: list[Argument] = [
            self._gateway,
            new_batch(SHARED_CLOCK.now_ms()),
            TAKE_JOBS,
            TAKE_BYTES,
            DEPTH,
            len(CLASSES),
        ]
        lists = [self._names.queue(name) for name in queues]
        names = [self._names.pause, self._recovery_list, keys.RESQUE_TAKERS, *lists]
        flat = await self._connection.eval(scripts.TAKE, names, [*words, *CLASSES, *queues])
        return [_taken(*pair) for pair in zip(flat[::2], flat[1::2], strict=True)]

    async def in_hand(self) -> list[TakenJob]:
        """Every job on this gateway's recovery list, oldest first. Raises StoreDown."""
        flat = await self._connection.call("HGETALL", self._recovery_list)
        pairs = list(zip(flat[::2], flat[1::2], strict=True))
        # Gateways assign ASCII ids only. A job under another id could not be removed from the list.
        readable = [pair for pair in pairs if pair[0].isascii()]
        if len(readable) < len(pairs):
            _log.error(
                "recovery_list_unreadable", name=self._recovery_list, entries=len(pairs) - len(readable)
            )
        return sorted(_taken(*pair) for pair in readable)

    async def take_over(self) -> int:
        """Record a heartbeat, take over the jobs of gateways without one, and return their number. Raises StoreDown."""
        words: list[Argument] = [
            self._gateway,
            int(TAKEOVER_S * 1000),
            keys.RESQUE_TAKEN,
            keys.CLOCK_DRIFT_MS,
        ]
        names = [keys.RESQUE_TAKERS, self._recovery_list]
        return int(await self._connection.eval(scripts.TAKE_OVER, names, words))

    async def admit(self, jobs: Sequence[tuple[TakenJob, Ping]], limits: BacklogLimits) -> str:
        """Make jobs durable pings, if the queue is in this Redis.

        Args:
            jobs: at most `ENTRY_PINGS`, none of them a broadcast.
            limits: limits of the backlog.

        Returns:
            "done"; "full": the backlog is full; "gone": one of the jobs is no longer in hand (and nothing was
            changed).

        Raises:
            StoreDown: the operation may have been executed; in that case a repetition returns "gone".
        """
        now_ms = SHARED_CLOCK.now_ms()
        entry = Entry(new_batch(now_ms), now_ms, tuple(ping for _, ping in jobs))
        size = sum(len(job.item) for job, _ in jobs)
        reply = await self._connection.eval(
            scripts.ADMIT,
            [self._recovery_list, keys.PINGS, keys.STATS, *self._stats("processed")],
            [len(jobs), size, *limits, _pack(entry), *(job.recovery_id for job, _ in jobs)],
        )
        return str(reply[0].decode())

    async def finish(self, job: TakenJob, failure: bytes = b"") -> bool:
        """Finish a job that is durable elsewhere or has failed; False: it was no longer in hand. Raises StoreDown."""
        names = [self._recovery_list, *self._stats("processed"), self._names.failed, *self._stats("failed")]
        reply = await self._connection.eval(scripts.FINISH, names, [job.recovery_id, failure])
        return bool(reply)

    def _stats(self, name: str) -> tuple[str, str]:
        return self._names.stat(name), self._names.stat(name, self.worker_id)

    # -- worker registration ---------------------------------------------------------------------------------

    async def now_s(self) -> float:
        """Redis' clock, which Resque's heartbeats follow, in seconds. Raises StoreDown."""
        seconds, micros = await self._connection.call("TIME")
        return int(seconds) + int(micros) / 1e6

    async def register(self, started: str, heartbeat: str, host: str) -> None:
        """Register as a worker, and remove the remains of a killed worker of this gateway. Raises StoreDown."""
        for known in await self._shown("SMEMBERS", self._names.workers) or ():
            name = known.decode("utf-8", "replace")
            if name.startswith(f"{host}:") and name != self.worker_id:
                await self._forget(name)
        await self._connection.call("SET", self._names.started(self.worker_id), started)
        await self.beat(heartbeat)

    async def beat(self, heartbeat: str) -> None:
        """Write Resque's heartbeat, and register again (another worker may have pruned this one). Raises StoreDown."""
        await self._shown("SADD", self._names.workers, self.worker_id)
        await self._shown("HSET", self._names.heartbeats, self.worker_id, heartbeat)

    async def _shown(self, command: str, key: str, *words: Argument) -> Any:
        """Call a command on a key of Resque that no job needs. If the key has another type, log it, and return None.

        Raises:
            StoreDown: Redis does not answer.
        """
        try:
            found = await self._connection.call(command, key, *words)
        except RedisReplyError as error:
            if not error.of_data:
                raise
            if key not in self._unusable:
                self._unusable.add(key)
                _log.error("resque_key_ignored", name=key, error=error.message)
            return None
        if key in self._unusable:
            self._unusable.discard(key)
            _log.info("resque_key_accepted", name=key)
        return found

    def busy(self, state: bytes) -> None:
        """Write the job that is being processed."""
        self._connection.send("SET", self._names.worker(self.worker_id), state)

    def idle(self) -> None:
        """Clear the job that is being processed."""
        self._connection.send("DEL", self._names.worker(self.worker_id))

    async def unregister(self) -> None:
        """Remove the worker and its counters. Raises StoreDown."""
        await self._forget(self.worker_id)

    async def _forget(self, worker_id: str) -> None:
        names = self._names
        await self._shown("SREM", names.workers, worker_id)
        await self._shown("HDEL", names.heartbeats, worker_id)
        own = [names.stat("processed", worker_id), names.stat("failed", worker_id)]
        await self._connection.call("DEL", names.worker(worker_id), names.started(worker_id), *own)


def _taken(recovery_id: bytes, value: bytes) -> TakenJob:
    queue, _, item = value.partition(b"\0")
    return TakenJob(recovery_id.decode(), queue.decode("utf-8", "replace"), item)
