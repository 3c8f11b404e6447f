"""Runs jobs for untrusted clients: a few at a time, in turn by client, clients without failures first.

A client is an address (or an IPv6 /64). A subject is the account that a job concerns: while an account is under
attack from many addresses, its jobs are spaced out, without delaying jobs for other accounts.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar, cast

from gateway.errors import AuthenticationBusy, RhoPushError
from gateway.scheduling.fair_queue import FairQueue

Result = TypeVar("Result")

WAITING_MAX: Final = 4_096
PATIENCE_S: Final = 15.0
"""Longest wait of a job for its turn: after this time most clients have disconnected."""
FAILING_S: Final = 60.0
"""Time for which a client with a failure comes after clients without."""
_FAILING_MAX: Final = 16_384
_HELD_MAX: Final = 256
"""Most jobs for one subject that wait while it is held."""
_FAILING_TURN: Final = 4
"""Every fourth turn is for clients with failures, if any wait: a failure may be a mistyped password."""
_SLICE: Final = 16
"""Refusals in one event loop iteration, since each wakes a request."""
_BUSY: Final = "too many logins wait to be checked"


class _Job(NamedTuple):
    client: str
    subject: str
    work: Callable[[], Awaitable[Any]]
    outcome: asyncio.Future[Any]


class _WaitingJobs:
    """Waiting jobs: of clients without failures, and of clients with failures."""

    def __init__(self, waiting_max: int) -> None:
        self._clean: FairQueue[_Job] = FairQueue(waiting_max)
        self._failing: FairQueue[_Job] = FairQueue(waiting_max)
        self._turn = 0

    def __len__(self) -> int:
        return len(self._clean) + len(self._failing)

    def put(self, job: _Job, *, failing: bool) -> _Job | None:
        """Add a job; return the job that does not fit."""
        return (self._failing if failing else self._clean).put(job.client, job)

    def take(self, *, failing: bool = True) -> _Job | None:
        """Remove and return the next job; None: there is none.

        Args:
            failing: whether a job of a client with failures may be returned.
        """
        jobs = [self._clean]
        if failing:
            self._turn = (self._turn + 1) % _FAILING_TURN
            jobs.insert(0 if self._turn == 0 else 1, self._failing)
        return next((lane.take() for lane in jobs if lane), None)

    def demote(self, client: str) -> list[_Job]:
        """Record a failure of the client; return the jobs that do not fit."""
        lost = (self._failing.put(client, job) for job in self._clean.take_all(client))
        return [job for job in lost if job is not None]


class _HeldSubject:
    """A subject whose jobs are spaced out, and its waiting jobs.

    Attributes:
        jobs: the waiting jobs.
        timer: runs until the next job may begin; None: `released` may begin.
        released: the next job of this subject; it waits among the jobs of all subjects.
    """

    def __init__(self) -> None:
        self.jobs = _WaitingJobs(_HELD_MAX)
        self.timer: asyncio.TimerHandle | None = None
        self.released: _Job | None = None


class FairWork:
    """Runs the jobs of clients.

    Args:
        at_once: most jobs that run at a time; if there are several, one of them is for clients without failures.
        refusal: called with client and subject before a job begins: the reason for refusing it; None: it may begin.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        at_once: int,
        refusal: Callable[[str, str], RhoPushError | None] = lambda _client, _subject: None,
        *,
        waiting_max: int = WAITING_MAX,
        patience_s: float = PATIENCE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._at_once = at_once
        self._failing_at_once = max(1, at_once - 1)
        self._refusal = refusal
        self._patience_s = patience_s
        self._clock = clock
        self._waiting = _WaitingJobs(waiting_max)
        self._held: dict[str, _HeldSubject] = {}
        self._failing: dict[str, float] = {}
        self._running: dict[asyncio.Task[None], bool] = {}  # whether the client had failures
        self._woken = False

    async def run(self, work: Callable[[], Awaitable[Result]], *, client: str, subject: str = "") -> Result:
        """Run a job in the client's turn.

        Raises:
            AuthenticationBusy: too many jobs wait, or the turn did not come in time.
            RhoPushError: raised by the job or `refusal`.
        """
        loop = asyncio.get_running_loop()
        job = _Job(client, subject, work, loop.create_future())
        self._refuse(self._waiting.put(job, failing=self.is_failing(client)))
        self._wake()
        outcome: Any = None
        try:
            async with asyncio.timeout(self._patience_s):
                outcome = await job.outcome
            if isinstance(outcome, RhoPushError):
                raise outcome
            return cast("Result", outcome)
        except TimeoutError as error:
            raise AuthenticationBusy(_BUSY) from error
        finally:
            # Both refer to the failure, whose traceback refers to this frame and the caller's, with the body.
            del job, outcome

    def is_failing(self, client: str) -> bool:
        """Whether the client had a failure recently."""
        until = self._failing.get(client)
        return until is not None and self._clock() < until

    def demote(self, client: str, subject: str) -> None:
        """Record a failure of the client: its jobs come after those of clients without failures."""
        self._failing.pop(client, None)
        if len(self._failing) >= _FAILING_MAX:
            del self._failing[next(iter(self._failing))]
        self._failing[client] = self._clock() + FAILING_S
        held = self._held.get(subject)
        for jobs in (self._waiting, *(() if held is None else (held.jobs,))):
            for job in jobs.demote(client):
                self._refuse(job)

    def delay(self, subject: str, delay_s: float) -> None:
        """Begin no further job for this subject within `delay_s`, and then one."""
        held = self._held.setdefault(subject, _HeldSubject())
        if held.timer is not None:
            held.timer.cancel()
        held.released = None
        held.timer = asyncio.get_running_loop().call_later(delay_s, self._release, subject)

    async def close(self) -> None:
        """Cancel the running jobs, and refuse the waiting ones."""
        for held in self._held.values():
            if held.timer is not None:
                held.timer.cancel()
        waiting = (self._waiting, *(held.jobs for held in self._held.values()))
        self._held = {}
        for jobs in waiting:
            while (job := jobs.take()) is not None:
                self._refuse(job)
        running = tuple(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _release(self, subject: str) -> None:
        """Queue the next job of a held subject among the jobs of all subjects; without a next job, end the hold."""
        held = self._held.get(subject)
        if held is None:
            return
        held.timer = held.released = None
        while (job := held.jobs.take()) is not None:
            if not job.outcome.done():
                held.released = job
                self._refuse(self._waiting.put(job, failing=self.is_failing(job.client)))
                self._wake()
                return
        del self._held[subject]

    def _on_job_done(self, job: _Job) -> None:
        """Finish a job that is done or refused: the next one of its subject may follow, unless the subject is still
        held."""
        held = self._held.get(job.subject)
        if held is not None and held.released is job:
            asyncio.get_running_loop().call_soon(self._release, job.subject)

    def _wake(self) -> None:
        if not self._woken:
            self._woken = True
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        """Start as many jobs as may run; jobs that are refused or held free their turn immediately."""
        self._woken = False
        for _ in range(_SLICE):
            if len(self._running) >= self._at_once:
                return
            job = self._waiting.take(failing=sum(self._running.values()) < self._failing_at_once)
            if job is None:
                return
            if job.outcome.done():
                self._on_job_done(job)
            elif not self._is_put_aside(job):
                self._begin(job)
        self._wake()

    def _is_put_aside(self, job: _Job) -> bool:
        refusal = self._refusal(job.client, job.subject)
        if refusal is not None:
            job.outcome.set_result(refusal)
            self._on_job_done(job)
            return True
        held = self._held.get(job.subject)
        if held is None or held.released is job:
            return False
        self._refuse(held.jobs.put(job, failing=self.is_failing(job.client)))
        return True

    def _begin(self, job: _Job) -> None:
        task = asyncio.get_running_loop().create_task(self._run(job), name="credential check")
        self._running[task] = self.is_failing(job.client)
        task.add_done_callback(partial(self._ended, job))

    def _ended(self, job: _Job, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._on_job_done(job)
        if task.cancelled():
            job.outcome.cancel()
        elif (error := task.exception()) is not None and not job.outcome.done():
            job.outcome.set_exception(error)
        self._wake()

    async def _run(self, job: _Job) -> None:
        try:
            outcome = await job.work()
        except RhoPushError as error:
            # Without its frames, which would keep the request in memory as long as the error.
            outcome = error.with_traceback(None)
        if not job.outcome.done():
            job.outcome.set_result(outcome)

    def _refuse(self, job: _Job | None) -> None:
        if job is None:
            return
        if not job.outcome.done():
            job.outcome.set_result(AuthenticationBusy(_BUSY))
        self._on_job_done(job)
