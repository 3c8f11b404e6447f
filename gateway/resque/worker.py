"""Resque worker that makes jobs durable pings.

| job | result | Resque counts |
| --- | --- | --- |
| valid `PingJob` | a durable ping | processed |
| invalid `PingJob` | a record in the failed list, with the error | processed, failed |
| job of another class | none: it stays in its queue, in order | - |

*Processed* means durable here: the ping's receipt has the verdicts of its deliveries. While the backlog is full or
Redis is unreachable, jobs stay in hand and no further jobs are taken.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import structlog

from gateway.clock import SHARED_CLOCK
from gateway.delivery.addressee_check import check_addressees
from gateway.errors import BAD_DATA, QueueFull, RhoPushError, ScheduleFull, StoreDown
from gateway.metrics import Metrics
from gateway.queue.everybody import is_to_everybody
from gateway.queue.ping_queue import PendingAppend, PingQueue
from gateway.queue.producer import QueueProducer
from gateway.resque.store import ResqueStore, TakenJob
from gateway.scheduling.background import run_in_background
from gateway.store import keys
from gateway.store.connection import RedisReplyError
from protocols.errors import BodyTooLarge, InputError, MalformedBody
from protocols.ping.model import RESQUE, Ping
from protocols.ping.overrides import NO_RULES, AdditionRules
from protocols.resque import parse, records
from protocols.resque.job import reason, shown

POLL_S: Final = 0.5
"""Polling interval of an empty queue (Resque itself: 5 s)."""
QUEUES_S: Final = 5.0
"""Interval at which patterns are compared with the names of the queues; a Resque worker does so at every poll."""
LIVENESS_S: Final = 5.0
"""Interval between heartbeats towards other gateways."""
_RETRY_S: Final = (0.1, 0.25, 0.5, 1.0, 2.0)
_FULL_S: Final = 1.0

_log = structlog.get_logger("resque")

ReadJob = tuple[TakenJob, Ping]


class ResqueWorker:
    """Processes Resque's queues until it is closed.

    Args:
        store: Resque's Redis.
        queue: the queue for the pings.
        wanted: `resque.queues`.
        host: the host part of the worker's id.
        together: whether Resque and the queue share a Redis.
        users_max: `limits.users_per_ping`.
        metrics: the metrics of this process.
        addition_rules: the rules of the parameters of a ping that providers of other packages add.
    """

    def __init__(
        self,
        store: ResqueStore,
        queue: QueueProducer,
        wanted: Sequence[str],
        *,
        host: str,
        together: bool,
        users_max: int,
        metrics: Metrics,
        addition_rules: AdditionRules = NO_RULES,
    ) -> None:
        self.users_max = users_max
        self._store = store
        self._queue = queue
        self._wanted = wanted
        self._host = host
        self._together = together
        self._metrics = metrics
        self._addition_rules = addition_rules
        self._names: list[str] = []
        self._looked_s = self._signed_s = self._beat_s = float("-inf")
        self._registered = False
        self._unrecorded = False
        """Whether a failed job in hand could not be recorded."""
        self._unfinished = True
        """Whether there may be jobs in hand: from before a restart, or from a take whose reply was lost."""
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the worker's tasks."""
        self._task = run_in_background(self._run, "resque", restart_s=_RETRY_S[-1], on_error=self._on_error)

    async def close(self, budget_s: float = 5.0) -> None:
        """Finish the jobs in hand, as far as the time allows, and unregister from Resque."""
        if self._task is None:
            return
        self._stopping.set()
        _, late = await asyncio.wait((self._task,), timeout=budget_s)
        for task in late:
            task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if not late:
            with contextlib.suppress(StoreDown):
                await self._store.unregister()

    async def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                await self._maintain()
                worked = await self._work()
                failures = 0
            except StoreDown as error:
                self._unfinished = True
                self._metrics.store_errors("resque").inc()
                if (
                    error.of_data and not failures
                ):  # a key of the gateway: it fails until the key is corrected
                    _log.error("resque_worker_failed", error=error.message)
                _log.debug("redis_unavailable", error=error.message)
                await self._sleep(_RETRY_S[min(failures, len(_RETRY_S) - 1)])
                failures += 1
                continue
            if not worked:
                await self._sleep(POLL_S)

    def _on_error(self, _: BaseException) -> None:
        self._unfinished = True

    async def _sleep(self, seconds: float) -> None:
        """Wait, unless the worker is closed before."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    # -- heartbeats and queue names --------------------------------------------------------------------------

    async def _maintain(self) -> None:
        now = time.monotonic()
        if not self._registered:
            at_s = await self._store.now_s()
            await self._store.register(records.started(at_s), records.heartbeat(at_s), self._host)
            self._registered, self._beat_s = True, now
            _log.info("resque_worker_registered", worker=self._store.worker_id)
        if now - self._beat_s >= records.HEARTBEAT_S:
            await self._store.beat(records.heartbeat(await self._store.now_s()))
            self._beat_s = now
        if now - self._signed_s >= LIVENESS_S:
            self._unfinished |= await self._store.take_over() > 0 or self._unrecorded
            self._unrecorded = False
            self._signed_s = now
        if now - self._looked_s >= QUEUES_S:
            patterns = any(records.is_pattern(name) for name in self._wanted)
            existing = await self._store.queues() if patterns else ()
            self._names = records.queues_of(self._wanted, existing)
            self._looked_s = now

    # -- jobs ------------------------------------------------------------------------------------------------

    async def _work(self) -> bool:
        """Finish the jobs in hand, or take new ones; False: there were none."""
        if self._unfinished:
            jobs = await self._store.in_hand()
            self._unfinished = False
            self._metrics.resque_jobs("recovered").inc(len(jobs))
        else:
            jobs = await self._store.take(self._names)
        if not jobs:
            return False
        self._store.busy(records.working(jobs[0].queue, _payload(jobs[0]), SHARED_CLOCK.now_s()))
        try:
            await self._finish_jobs(jobs)
        finally:
            self._store.idle()
        return True

    async def _finish_jobs(self, jobs: Sequence[TakenJob]) -> None:
        """Finish each job. A job whose failure cannot be recorded stays in hand, and does not block the others."""
        plain: list[ReadJob] = []
        for job in jobs:
            try:
                ping, queue = self._read(job)
            except InputError as error:
                await self._try_to_fail(job, error)
                continue
            is_broadcast = len(ping.users) > keys.BROADCAST_USERS or is_to_everybody(ping)
            if queue is None and self._together and not is_broadcast:
                plain.append((job, ping))
            else:
                await self._append(job, ping, queue or self._queue)
        for entry in _entries(plain):
            await self._admit(entry)

    async def _try_to_fail(self, job: TakenJob, error: InputError | ScheduleFull) -> None:
        """Record a failure; if the list of failures has another type, try again at the next heartbeat."""
        try:
            await self._fail(job, error)
        except RedisReplyError as fault:
            if not fault.of_data:
                raise
            self._unrecorded = True
            self._metrics.store_errors("resque").inc()
            _log.error("resque_failure_write_failed", queue=job.queue, error=fault.message)

    def _read(self, job: TakenJob) -> tuple[Ping, PingQueue | None]:
        """The ping of a job, and where it goes if it has a `deliver_at`."""
        try:
            read = parse(job.item, self._addition_rules)
        except InputError:
            raise
        except BAD_DATA as error:
            raise MalformedBody(f"the job cannot be read: {type(error).__name__}") from error
        if len(job.item) > self._queue.limits.bytes:
            raise BodyTooLarge(f"the job has more than {self._queue.limits.bytes} bytes (limits.queue_bytes)")
        if len(read.ping.users) > self.users_max:
            raise BodyTooLarge(f"user_id names more than {self.users_max} users", field="user_id")
        if read.ping.to is not None:
            check_addressees(read.ping.to, len(read.ping.users), self.users_max)
        if read.unknown:
            _log.info("unknown_parameters_ignored", names=read.unknown, queue=job.queue)
        return read.ping, None if read.deliver_at_ms is None else self._queue.at(read.deliver_at_ms)

    async def _fail(self, job: TakenJob, error: InputError | ScheduleFull) -> None:
        record = records.failure(
            shown(job.item),
            type(error).__name__,
            reason(error),
            self._store.worker_id,
            job.queue,
            SHARED_CLOCK.now_s(),
        )
        if await self._store.finish(job, record):
            self._metrics.resque_jobs("failed").inc()
            _log.warning("resque_job_failed", queue=job.queue, error=reason(error))

    async def _admit(self, jobs: list[ReadJob]) -> None:
        """Admit the jobs in one step; one by one if another gateway has taken over some of them, and in halves if the
        backlog has no room for all of them: it may never have."""
        while True:
            answer = await self._store.admit(jobs, self._queue.limits)
            if answer == "done":
                self._accepted(len(jobs))
                return
            if answer == "gone" or len(jobs) > 1:
                break
            if not await self._wait_for_queue():
                return
        if len(jobs) == 1:
            return
        size = 1 if answer == "gone" else (len(jobs) + 1) // 2
        for first in range(0, len(jobs), size):
            await self._admit(jobs[first : first + size])

    async def _append(self, job: TakenJob, ping: Ping, queue: PingQueue) -> None:
        """Append a ping through a producer: to another Redis, for many users, or for later. The recovery id prevents
        duplicates. A full schedule may stay full for weeks, so it fails the job."""
        while True:
            outcome = await PendingAppend(queue, ping, len(job.item), job.key).outcome()
            if isinstance(outcome, ScheduleFull):
                await self._try_to_fail(job, outcome)
                return
            if not isinstance(outcome, QueueFull):
                break
            if not await self._wait_for_queue():
                return
        if isinstance(outcome, RhoPushError):
            raise outcome
        if await self._store.finish(job):
            self._accepted(1)

    async def _wait_for_queue(self) -> bool:
        """Wait until the backlog has room, with heartbeats meanwhile. False: the worker is being closed."""
        await self._sleep(_FULL_S)
        await self._maintain()
        return not self._stopping.is_set()

    def _accepted(self, count: int) -> None:
        self._metrics.pings_accepted(RESQUE).inc(count)
        self._metrics.resque_jobs("accepted").inc(count)


def _entries(jobs: Iterable[ReadJob]) -> Iterator[list[ReadJob]]:
    """Group jobs into entries that the queue accepts."""
    entry: list[ReadJob] = []
    users = 0
    for job, ping in jobs:
        users += len(ping.users)
        if entry and (len(entry) == keys.ENTRY_PINGS or users > keys.ENTRY_USERS):
            yield entry
            entry, users = [], len(ping.users)
        entry.append((job, ping))
    if entry:
        yield entry


def _payload(job: TakenJob) -> dict[str, object]:
    """The job as the worker's state shows it."""
    return shown(job.item) if len(job.item) <= records.PAYLOAD_BYTES_MAX else {"class": "", "args": []}
