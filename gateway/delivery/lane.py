"""What every lane has, whatever it sends over: a name, a provider, a waiting room, and how sends leave it without an
answer.

A lane hands each send's fate to its unit: accepted, ended with a reason, on the schedule, or parked in the
lane's share of the backlog in Redis.
"""

import random
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Sequence
from operator import attrgetter
from typing import Final

import structlog

from gateway.clock import SHARED
from gateway.delivery.batch import Postponed, Send
from gateway.delivery.dead_tokens import BRAKE_S, Brake, Tokens
from gateway.delivery.providers import Provider
from gateway.delivery.reasons import reason_label
from gateway.delivery.retry import EXPIRED, LANE_FULL, Timing, again
from gateway.delivery.route import Route
from gateway.metrics import Metrics
from gateway.settings import RetrySettings
from protocols.verdict import Kind, Verdict

WAITING_SHARE: Final = 8_000
"""Sends that may wait in memory for a lane, about 1 KB each, once other lanes need the worker's room."""
SHARE_MAX: Final = 1_000_000
"""Sends that a lane may have parked in Redis; beyond it they end as `lane_full`."""
AT_ONCE_MS: Final = 10_000
"""How long the one try of a ping with a time to live of 0 may take to begin (providers A2: apns-expiration 0)."""
GRACE_S: Final = 1.0
"""How long sends wait in memory for a lost connection to come back before they are parked."""
PARK_S: Final = 4.0
PARK_MAX_S: Final = 60.0
"""When parked sends are tried again: soon at first, and later the longer their lane has been unable to send, so
that a large backlog does not go round and round. A random part is added, so that they do not come all at once."""
LAST_LOOK_S: Final = 2.0
"""At the latest they are tried so long before their time to live ends, or twice that: their lane may be up again."""
_REASON_LOG_S: Final = 60.0
_log = structlog.get_logger("lane")
BUSY: Final = Verdict(Kind.LATER, "lane_busy")
_ROUTE: Final = attrgetter("route")
_noise = random.SystemRandom().random


class Outlet(ABC):
    """One way to one provider.

    Args:
        name: stable over restarts and the same in every gateway ("apns:ABC123DEFG").
        provider: how pings are told and answers judged.
        retry: when sends come again.
        metrics: where verdicts are counted.
        tokens: takes the provider's answers about device tokens; None: nothing is marked.
    """

    def __init__(
        self,
        name: str,
        provider: Provider,
        retry: RetrySettings,
        metrics: Metrics,
        tokens: Tokens | None = None,
    ) -> None:
        self.name = name
        self.provider = provider
        self.parked_total = 0
        """Sends of this lane parked in Redis by all gateways, as last heard."""
        self.retry = retry
        """When sends come again; changed settings swap it."""
        self._metrics = metrics
        self._tokens = tokens
        self._small: deque[Send] = deque()
        self._bulk: deque[Send] = deque()
        self._brake = Brake()
        self._brake_on = False
        self._reason_logged_s = float("-inf")

    @abstractmethod
    def offer(self, sends: Sequence[Send], *, bulk: bool) -> None:
        """Take sends. Each ends with a verdict in its unit, perhaps before this returns."""

    @abstractmethod
    def wake(self) -> None:
        """Something that kept this lane from sending is gone."""

    @abstractmethod
    def sweep(self) -> None:
        """Once a second: park what waits for a lane that cannot send, and wake one that may try again."""

    @abstractmethod
    async def close(self, budget_s: float) -> None:
        """Finish what is in flight, within the budget; what waits stays in its units, which stay in Redis."""

    @property
    @abstractmethod
    def in_flight(self) -> int:
        """Sends given away and not answered."""

    @property
    def backlog(self) -> int:
        """Sends waiting in memory."""
        return len(self._small) + len(self._bulk)

    @property
    @abstractmethod
    def trouble(self) -> str | None:
        """Why this lane cannot send now; None when it can, or was never asked to."""

    @property
    def stuck_s(self) -> float:
        """For how many seconds this lane has been unable to send; 0: it sends."""
        return 0.0

    @property
    def halted(self) -> bool:
        """Whether the breaker is open: the credential was refused."""
        return False

    def ease(self) -> None:
        """Other lanes need the worker's room: park what this one has no share for."""
        self._park_beyond(self._share(), BUSY)

    def _share(self) -> int:
        """How many sends may wait here while other lanes need room."""
        return WAITING_SHARE

    # -- the waiting room ------------------------------------------------------------------------------------

    def _let_wait(self, sends: Sequence[Send], *, bulk: bool) -> None:
        """Let sends wait. How many a worker takes in hand is bounded (`fanout.consumer`), so this is."""
        (self._bulk if bulk else self._small).extend(sends)

    def _wait_again(self, send: Send) -> None:
        """It waits again, before the others."""
        (self._bulk if send.unit.bulk else self._small).appendleft(send)

    def _park_beyond(self, room: int, verdict: Verdict) -> None:
        """Park the newest of what waits, broadcasts first, until only `room` sends are left in memory."""
        for waiting in (self._bulk, self._small):
            while waiting and self.backlog > room:
                self._park(waiting.pop(), verdict)

    def _abandon(self) -> None:
        """Nothing waits any more; it stays in its units, which stay in Redis."""
        self._small.clear()
        self._bulk.clear()

    # -- fates -----------------------------------------------------------------------------------------------

    def _count_accepted(self, sends: Sequence[Send]) -> None:
        """Count accepted sends by app, and how long each took from the door."""
        seconds = SHARED.seconds_since([send.unit.since_ms for send in sends])
        accepted = Counter(map(_ROUTE, sends))
        self._brake.alive(len(seconds), time.monotonic())
        for route, count in accepted.items():
            self._metrics.deliveries(self.provider.name, route.app, "accepted", "").inc(count)
            if not route.proven:
                self._prove_place(route)
        self._metrics.delivery_seconds(self.provider.name).observe_many(seconds)

    def _prove_place(self, route: Route) -> None:
        """A send was accepted: answers about device tokens are believed from now on."""
        # What a successor took over was planned for another host.
        if route.lane is self:
            route.proven = True
            if route.place is not None and self._tokens is not None:
                self._tokens.proven(route.place)

    def _is_dead(self, send: Send, verdict: Verdict, others: tuple[str, ...] = ()) -> None:
        """The provider called this send's token dead, also at the places `others`."""
        route = send.route
        if (
            route.lane is self
            and route.place is not None
            and self._tokens is not None
            and self._believes(verdict)
        ):
            self._tokens.heard(send, verdict, route.place, others)

    def _believes(self, verdict: Verdict) -> bool:
        """Whether a token that was called dead is to be marked."""
        allowed = self._brake.allows(time.monotonic())
        if not allowed and not self._brake_on:
            _log.error("mass_invalidation", lane=self.name, reason=verdict.reason, within_s=BRAKE_S)
        self._brake_on = not allowed
        return allowed

    def _later(self, send: Send, verdict: Verdict, status: int) -> None:
        """Put a send on the schedule, or end it where its time is over."""
        unit = send.unit
        now_ms = SHARED.now_ms()
        first_ms = SHARED.corrected(unit.first_ms)
        timing = Timing(now_ms, first_ms, _expires_ms(send), unit.attempt, _noise())
        decision = again(self.provider.name, verdict, status, timing, self.retry)
        if decision.due_ms is None:
            self._end(send, decision.reason)
            return
        self._metrics.retries(self.provider.name, self._label(verdict.reason)).inc()
        due_ms = SHARED.steady_ms() + decision.due_ms - now_ms
        unit.postpone(send.place, verdict, Postponed(due_ms, unit.attempt + 1, ""))

    def _is_over(self, send: Send, now_ms: int) -> bool:
        """Whether a send's time to live has ended. A ping without any has one try: a moment passes until here."""
        if send.message.expires_ms > now_ms or _expires_ms(send) > now_ms:
            return False
        unit = send.unit
        ping = unit.pings[unit.ping_of(send.place)]
        accepted_ms = SHARED.corrected(ping.accepted_ms)
        return ping.ttl_s != 0 or unit.attempt > 0 or now_ms >= accepted_ms + AT_ONCE_MS

    def _park(self, send: Send, verdict: Verdict) -> None:
        """Leave memory for this lane's share of the backlog in Redis. No try is counted."""
        now_ms = SHARED.now_ms()
        delay_s, noise = min(PARK_MAX_S, max(PARK_S, self.stuck_s / 2)), _noise()
        due_ms = now_ms + int(delay_s * 1000 * (1 + noise))
        due_ms = min(due_ms, _expires_ms(send) - int(LAST_LOOK_S * 1000 * (1 + noise)))
        if due_ms <= now_ms:
            self._end(send, EXPIRED)
        elif self.parked_total >= SHARE_MAX:
            self._end(send, LANE_FULL)
        else:
            self.parked_total += 1
            due_ms += SHARED.steady_ms() - now_ms
            send.unit.postpone(send.place, verdict, Postponed(due_ms, send.unit.attempt, self.name))

    def _end(self, send: Send, reason: str) -> None:
        """Give a send its final verdict."""
        self._metrics.deliveries(self.provider.name, send.route.app, "rejected", self._label(reason)).inc()
        send.unit.reject(send.place, reason)

    def _label(self, reason: str) -> str:
        """The metric label of a reason; one that no table holds is logged in full, once a minute at most."""
        label = reason_label(reason)
        if label != reason:
            now_s = time.monotonic()
            if now_s - self._reason_logged_s >= _REASON_LOG_S:
                self._reason_logged_s = now_s
                _log.warning("unknown_reason", lane=self.name, reason=reason, label=label)
        return label


def _expires_ms(send: Send) -> int:
    """When a send is of no more use. If Redis' clock was set since the ping was accepted, that moves with it."""
    accepted_ms = send.unit.pings[send.unit.ping_of(send.place)].accepted_ms
    return send.message.expires_ms + SHARED.corrected(accepted_ms) - accepted_ms
