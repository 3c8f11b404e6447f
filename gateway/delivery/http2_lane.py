"""A lane: everything that goes to one provider with one credential.

Lanes are bulkheads. Each has its own connections, its own waiting room of bounded size and its own breaker;
what a lane cannot send is parked in Redis (the lane's share of the backlog there), and other lanes do not
feel it. Small pings overtake broadcasts. A connection takes what it has room for (`take`), and hands back
what became of it (`settle`); no task, future or timer stands behind a single send.
"""

import time
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

import structlog

from gateway.clock import SHARED
from gateway.delivery.batch import OPEN, Send
from gateway.delivery.dead_tokens import Tokens
from gateway.delivery.lane import BUSY, GRACE_S, Outlet
from gateway.delivery.providers import Credential, Provider
from gateway.delivery.rate_limiter import Pace
from gateway.delivery.retry import EXPIRED
from gateway.delivery.route import LaneInterface
from gateway.metrics import Metrics
from gateway.scheduling.scheduler import SLICE, Turns
from gateway.settings import RetrySettings
from gateway.transport.feed import BATCH, Endpoint
from gateway.transport.pool import Pool, Tuning
from protocols.devices import ELSEWHERE
from protocols.http2.client import Fate, Header, Outcome, never_indexed
from protocols.provider_response import answered_s
from protocols.verdict import Kind, Remedy, Verdict

_ANSWERED: Final = Fate.ANSWERED  # an enum's member costs three look-ups
_NEW_TOKEN: Final = frozenset({Remedy.RENEW, Remedy.REISSUE})
_log = structlog.get_logger("lane")

UNAUTHORIZED: Final = "no_provider_token"
HALT_S: Final = 30.0
"""How long the breaker stays open before one send may try whether the credential works again."""
RECONNECT_S: Final = 10.0
"""At most so long between two tries to reach a provider that is down: seldom enough for Apple, which takes rapid
reconnecting for an attack (providers A1), and soon enough for those who wait."""
KEEP_S: Final = 3.0
KEEP_MIN: Final = 200
"""What a lane may keep waiting in memory: some seconds of what it sends, and a few in any case."""
PATIENCE_SWEEPS: Final = 3
"""So many seconds in a row something must have waited before more than that is parked."""
UNTRIED_MAX: Final = 8
"""A send that so many connections refused unprocessed is scheduled like an unknown one, so that it cannot circle."""


class Flow:
    """Decides how much a lane may keep waiting in memory: what it sends in `KEEP_S`. No I/O.

    A lane that is slow for long (a small quota, a stream limit of one) must not fill the worker with its sends,
    since other lanes share the worker's room; one that has just been handed a burst may keep it.
    """

    def __init__(self) -> None:
        self._rates: deque[int] = deque(maxlen=PATIENCE_SWEEPS)
        self._busy = 0

    def soon(self, taken: int) -> int:
        """How many sends that wait will have gone in `KEEP_S`; `taken` were handed out since the last `room`."""
        return int(max(taken, *self._rates, 0) * KEEP_S)

    def room(self, taken: int, waiting: int) -> int:
        """Once a second: how many sends may go on waiting.

        Args:
            taken: sends handed out in this second.
            waiting: sends that wait now.
        """
        self._rates.append(taken)
        self._busy = self._busy + 1 if waiting else 0
        if self._busy < PATIENCE_SWEEPS:
            return waiting
        return max(KEEP_MIN, self.soon(taken))


class Moved(NamedTuple):
    """Why a send came over from the provider's other environment: the place's key there, and its answer."""

    key: str
    verdict: Verdict


class LanePolicy(NamedTuple):
    """What a lane obeys: its settings, and whether small pings are under way in this worker."""

    connections_max: int
    deadline_s: float
    retry: RetrySettings
    turns: Turns


class Lane(Outlet):
    """One provider and credential: waiting room, connections, breaker.

    Args:
        name: stable over restarts and the same in every gateway ("apns:ABC123DEFG").
        provider: how its answers are judged.
        credential: what authorises requests.
        endpoint: where its requests go.
        policy: its settings.
        metrics: where verdicts are counted.
        tokens: takes note of device tokens that the provider called dead.
        pace: keeps it to its provider's quota; None: there is none.
    """

    def __init__(
        self,
        name: str,
        provider: Provider,
        credential: Credential,
        endpoint: Endpoint,
        policy: LanePolicy,
        metrics: Metrics,
        tokens: Tokens,
        pace: Pace | None = None,
    ) -> None:
        super().__init__(name, provider, policy.retry, metrics, tokens)
        self.credential = credential
        self._pace = pace
        authority = endpoint.authority.encode()
        self._head: list[Header] = [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", authority)]
        self._wanted = False
        self._down_since: float | None = None
        self._error: str | None = None
        self._refused = ""
        self._halted_until = 0.0
        self._trial = False
        self._stuck_since: float | None = None
        self._why: str | None = None
        self._flow = Flow()
        self._taken = 0
        self._deadline_s = policy.deadline_s
        self._turns = policy.turns
        self._retired = False
        self._heir: LaneInterface | None = None
        self._moved: dict[Send, Moved] = {}
        self._pool = Pool(
            endpoint,
            self,
            connections_max=policy.connections_max,
            deadline_s=policy.deadline_s,
            tuning=Tuning(backoff_most_s=RECONNECT_S),
        )

    # -- towards the fan-out ---------------------------------------------------------------------------------

    def offer(self, sends: Sequence[Send], *, bulk: bool) -> None:
        """Take sends. Each ends with a verdict in its unit, perhaps before this returns."""
        if self._retired:
            self._leave(sends, bulk=bulk)
            return
        self._let_wait(sends, bulk=bulk)
        self._wanted = True
        self._pool.wake()

    def wake(self) -> None:
        """Something that kept this lane from sending is gone (a provider token came)."""
        self._pool.wake()

    @property
    def in_flight(self) -> int:
        """Sends given to a connection and not answered."""
        return self._pool.in_flight

    @property
    def halted(self) -> bool:
        """Whether the breaker is open: the credential was refused."""
        return self._trial or self._halted_until > time.monotonic()

    @property
    def trouble(self) -> str | None:
        """Why this lane cannot send now; None when it can, or was never asked to."""
        if self.halted:
            return self._refused
        if self._is_down:
            return self._error or "no connection"
        return self._why if self.stuck_s > GRACE_S else None

    @property
    def _is_down(self) -> bool:
        """Whether something wants a connection that cannot be had: an idle lane may lose its own."""
        return self._wanted and self._down_since is not None

    @property
    def stuck_s(self) -> float:
        """For how many seconds this lane has been unable to send; 0: it sends."""
        return 0.0 if self._stuck_since is None else time.monotonic() - self._stuck_since

    def sweep(self) -> None:
        """Once a second: park what waits for a lane that cannot send, and wake one that may try again."""
        self._metrics.lane_in_flight(self.name).set(self._pool.in_flight)
        self._metrics.lane_breaker_open(self.name).set(int(self.halted))
        why = self._why = self._why_stuck()
        if why is None:
            self._stuck_since = None
            self._park_beyond(self._flow.room(self._taken, self.backlog), BUSY)
        else:
            self._stuck_since = self._stuck_since or time.monotonic()
            if self._halted_until > time.monotonic() and self.credential.corrected():
                self._halted_until = 0.0  # one send tries the new token now
            elif self._halted_until > time.monotonic() or self.stuck_s > GRACE_S:
                self._park_beyond(0, Verdict(Kind.LATER, why))
        self._metrics.lane_down(self.name).set(int(self._is_down or self.trouble == UNAUTHORIZED))
        self._taken = 0
        if self._moved:  # those that ended or left in another way than by an answer
            self._moved = {s: why for s, why in self._moved.items() if s.unit.states[s.place] == OPEN}
        if self._wanted:
            self._pool.wake()

    def _why_stuck(self) -> str | None:
        """Why nothing can be sent at all; None: something can."""
        if self._halted_until > time.monotonic():
            return self._refused
        if self._is_down:
            return self._error or "no_connection"
        if self._wanted and self.credential.authorization() is None:  # for what is parked, too
            return UNAUTHORIZED
        return None

    def _share(self) -> int:
        return max(super()._share(), self._flow.soon(self._taken))

    async def retire(self, heir: LaneInterface | None) -> None:
        """Stop for good: give what waits to a successor, or to the schedule, and finish what is in flight.

        A send that comes back unprocessed meanwhile goes the same way.

        Args:
            heir: has taken this lane's place; None: nothing has.
        """
        self._retired, self._heir = True, heir
        for waiting, bulk in ((self._small, False), (self._bulk, True)):
            sends = list(waiting)
            waiting.clear()
            self._leave(sends, bulk=bulk)
        await self.close(self._deadline_s)

    def _leave(self, sends: Sequence[Send], *, bulk: bool) -> None:
        if self._heir is not None:
            for send in sends:
                send.route = send.route.newest
            self._heir.offer(sends, bulk=bulk)
            return
        for send in sends:
            self._park(send, BUSY)

    async def close(self, budget_s: float) -> None:
        """Finish what is in flight, within the budget; what waits stays in its units, which stay in Redis."""
        self._abandon()
        self._wanted = False
        await self._pool.close(budget_s)
        await self.credential.close()

    # -- towards the connections (Feed) ----------------------------------------------------------------------

    def waiting(self) -> int:
        """How many requests could go out now. A lane that is down wants a connection for what is parked, too."""
        if self._halted_until > time.monotonic():
            return 0
        return self.backlog or int(self._wanted and self._down_since is not None)

    def together(self) -> int:
        """A batch; while small pings are under way those that wait, or with them a slice of a broadcast."""
        if self._bulk and self._turns.calm:
            return min(BATCH, max(SLICE, len(self._small)))
        return BATCH

    def take(self, n: int) -> Sequence[tuple[list[Header], bytes, object]]:
        """Hand over at most `n` requests, small pings first."""
        if self._halted_until > time.monotonic():
            return ()
        if self._trial:
            n = 0 if self._pool.in_flight else 1
        authorization = self.credential.authorization()
        if authorization is None:
            return ()
        if self._pace is not None:
            n = self._pace.allow(min(n, self.backlog))
        now_ms = SHARED.now_ms()
        requests: list[tuple[list[Header], bytes, object]] = []
        while len(requests) < n and (send := self._next(now_ms)) is not None:
            message = send.message
            headers = [*self._head, (b":path", send.path), *authorization, *message.headers]
            if send.request_id:
                headers.append(never_indexed(b"apns-id", send.request_id))
            requests.append((headers, message.body(send.device.pin, send.device.phone_id), send))
        self._taken += len(requests)
        if self._pace is not None:
            self._pace.spend(len(requests))
        return requests

    def _next(self, now_ms: int) -> Send | None:
        """The next send that is still worth sending, small pings first."""
        while waiting := self._small or self._bulk:
            send = waiting.popleft()
            if send.unit.lost:
                continue
            if not self._is_over(send, now_ms):
                return send
            self._end(send, EXPIRED)
        self._wanted = False
        return None

    def settle(self, outcomes: Sequence[Outcome]) -> None:
        """Judge what came back. Answers of 200 are the hot path."""
        accepted: list[Send] = []
        for outcome in outcomes:
            send: Send
            send, fate, status, _, _, _ = outcome
            if status == 200 and fate is _ANSWERED:
                accepted.append(send)
                send.unit.accept(send.place)
            elif fate is Fate.UNTRIED:
                self._untried(send)
            elif fate is Fate.UNKNOWN:
                reason = "deadline" if outcome.reason == "deadline" else "connection_lost"
                self._later(send, Verdict(Kind.UNKNOWN, reason), 0)
            else:
                self._judge(send, outcome)
        if accepted:
            self._accept(accepted)

    def link_changed(self, connected: int, error: str | None) -> None:
        """The number of usable connections changed."""
        if connected:
            if self._down_since is not None:
                _log.info("lane_up", lane=self.name)
            self._down_since = None
            self._error = None
        elif error is not None:
            if self._down_since is None:
                self._down_since = time.monotonic()
                _log.warning("lane_down", lane=self.name, error=error)
            self._error = error

    # -- verdicts --------------------------------------------------------------------------------------------

    def _accept(self, accepted: Sequence[Send]) -> None:
        self._prove()
        self._count_accepted(accepted)
        if self._moved:
            self._learn(accepted)

    def _prove(self) -> None:
        """The credential was taken, unless this answers what was sent before it was refused."""
        if self._trial and self._halted_until <= time.monotonic():
            self._trial = False

    def _judge(self, send: Send, outcome: Outcome) -> None:
        verdict = self.provider.judge(outcome.status, outcome.headers, outcome.body, SHARED.now_s())
        if verdict.kind == Kind.ACCEPTED:
            self._accept([send])
            send.unit.accept(send.place)
            return
        moved = self._moved.get(send)
        if verdict.here_only:
            if self._hand_over(send, verdict):
                return
            if moved is not None and not verdict.dead:
                verdict = moved.verdict  # the credential is the other environment's: this host says nothing
        if verdict.remedy in _NEW_TOKEN and not self._renew(send, verdict, outcome):
            verdict = verdict._replace(remedy=Remedy.HALT)
        self._apply(verdict)
        if verdict.kind == Kind.LATER:
            # A refused token is no try of the send: while the breaker is open, it is parked.
            if verdict.once and (not send.renewed or verdict.remedy is Remedy.HALT):
                send.renewed = True
                self._requeue(send)
            else:
                self._later(send, verdict, outcome.status)
            return
        if verdict.remedy is not Remedy.HALT:
            self._prove()
        if verdict.dead:
            self._is_dead(send, verdict, self._bad_elsewhere(send, moved))
        self._end(send, verdict.reason)

    def _renew(self, send: Send, verdict: Verdict, outcome: Outcome) -> bool:
        """Get another provider token; False: this send is not to be tried again at once."""
        if send.renewed:
            return False
        return self.credential.renew(answered_s(outcome.headers)) or verdict.remedy is Remedy.RENEW

    # -- two environments --------------------------------------------------------------------------------------

    def _hand_over(self, send: Send, verdict: Verdict) -> bool:
        """Give a send that is refused at this host alone to the lane of the other one; False: there is none for it."""
        route = send.route
        if route.lane is not self or route.place is None or route.fallback is None:
            return False
        fallback = route.fallback.of(send.device)
        if fallback is None or not isinstance(fallback.lane, Lane):
            return False
        if verdict.dead:
            self._prove()
        send.route, send.renewed = fallback, False
        fallback.lane.take_over(send, Moved(route.place.key, verdict))
        return True

    def take_over(self, send: Send, why: Moved) -> None:
        """Take a send that the lane of the other environment could not deliver. No try is counted."""
        self._moved[send] = why
        self.offer((send,), bulk=send.unit.bulk)

    def _learn(self, accepted: Sequence[Send]) -> None:
        """Remember of what came over that the other environment refuses it: this one has just accepted it."""
        for send in accepted:
            moved = self._moved.pop(send, None)
            if moved is not None and self._tokens is not None and send.route.lane is self:
                self._tokens.moved(send, moved.key)

    @staticmethod
    def _bad_elsewhere(send: Send, moved: Moved | None) -> tuple[str, ...]:
        """The other places where this token is bad: by the answer of a moment ago, or by its mark."""
        known = tuple(key.removeprefix(ELSEWHERE) for key in send.device.bad_at.split())
        here = send.route.place
        known = tuple(key for key in known if here is None or key != here.key)
        return known if moved is None or not moved.verdict.dead or moved.key in known else (*known, moved.key)

    def _apply(self, verdict: Verdict) -> None:
        if verdict.remedy is Remedy.RECONNECT:
            self._pool.reconnect(verdict.reason)
        elif verdict.remedy is Remedy.HALT:
            if not self.halted:
                _log.error(
                    "credential_refused", lane=self.name, reason=verdict.reason, looks_again_in_s=HALT_S
                )
            self._halted_until = time.monotonic() + HALT_S
            self._trial = True
            self._refused = verdict.reason
            self.credential.renew()

    def _untried(self, send: Send) -> None:
        send.untried += 1
        if send.untried < UNTRIED_MAX:
            self._requeue(send)
        else:
            self._later(send, Verdict(Kind.LATER, "refused"), 0)

    def _requeue(self, send: Send) -> None:
        if self._retired:
            self._leave([send], bulk=send.unit.bulk)
            return
        self._wait_again(send)
        self._wanted = True
