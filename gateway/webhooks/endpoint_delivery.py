"""Delivery to one endpoint: the messages of one second after another, each until the receiver has accepted it.

The order of an endpoint's messages is that of the outbox, so that the events of each ping arrive in their order. A
message that fails is repeated with the same id and body; no later message overtakes it. After a kill, the next leader
repeats at most the message whose acceptance was not stored.
"""

import hashlib
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog

from gateway.clock import SHARED_CLOCK
from gateway.metrics import Metrics
from gateway.settings import WebhookSettings
from gateway.tracing import PingTracer, WebhookCall
from gateway.webhooks.endpoint_state import EndpointState, EndpointStates
from gateway.webhooks.outbox import Outbox, StoredRecord, event_record, traces_of
from gateway.webhooks.sink import Sink
from protocols.webhooks.attempts import RETRY_AFTER_MAX_S, DeliveryAttempt, Outcome, delay_s
from protocols.webhooks.events import Message, messages_of

_log = structlog.get_logger("webhooks")

POLL_S: Final = 0.5
"""Interval at which a leader looks for new records."""
STANDBY_S: Final = 5.0
"""Interval at which a worker that is not the leader tries to become it."""
_WAIT_MAX_S: Final = 2 * RETRY_AFTER_MAX_S
"""A longer delay was stored before the clock was set back."""
_SECOND_MS: Final = 1_000
_ERROR_CHARACTERS: Final = 300
_noise = random.SystemRandom().random


class EndpointDelivery:
    """Delivers to one endpoint while this worker is its leader.

    Args:
        name: name of the endpoint.
        settings: the endpoint.
        sink: its receiving side.
        states: the states of all endpoints.
        outbox: the outbox.
        metrics: counts attempts and lost records.
        now_ms: epoch ms by the clock of Redis, for the delays between attempts.
        tracer: records the attempts for the pings that have a trace; None: there are no traces.
    """

    def __init__(
        self,
        name: str,
        settings: WebhookSettings,
        sink: Sink,
        states: EndpointStates,
        outbox: Outbox,
        metrics: Metrics,
        now_ms: Callable[[], int] = SHARED_CLOCK.now_ms,
        tracer: PingTracer | None = None,
    ) -> None:
        self.name: Final = name
        self.settings: Final = settings
        self.sink: Final = sink
        self._states = states
        self._outbox = outbox
        self._metrics = metrics
        self._now_ms = now_ms
        self._tracer = tracer
        self._wanted = frozenset(settings.events)
        self._digest = digest_of(settings)
        self._is_leader = False
        metrics.webhook_oldest_age_seconds(name).set(0)
        metrics.webhook_disabled(name).set(0)

    async def step(self) -> float:
        """Deliver the messages of the next second, if it is over; returns the seconds until the next step.

        Raises:
            StoreDown: Redis does not answer.
        """
        state = await self._states.hold(self.name)
        if state is None:
            self._end_leadership()
            return STANDBY_S
        self._is_leader = True
        disabled = state.disabled == self._digest
        self._metrics.webhook_disabled(self.name).set(int(disabled))
        waiting_s = max(0.0, (state.due_ms - self._now_ms()) / 1000)
        if waiting_s > _WAIT_MAX_S:
            waiting_s = 0.0
        if disabled or waiting_s:
            self._export_age(state, state.oldest_ms)
            return min(waiting_s, POLL_S) if waiting_s else POLL_S
        return await self._deliver_second(state)

    async def close(self) -> None:
        """End the leadership, and close the endpoint.

        Raises:
            StoreDown: Redis does not answer: the leadership ends with its lease.
        """
        was_leader = self._is_leader
        self._end_leadership()
        await self.sink.close()
        if was_leader:
            await self._states.release(self.name)

    async def _deliver_second(self, state: EndpointState) -> float:
        records = await self._outbox.next_second(state.cursor)
        if not records:
            self._export_age(state, 0)
            return POLL_S
        over_ms = (records[0].second + 1) * _SECOND_MS
        messages = messages_of([event_record(record, self._wanted) for record in records])
        self._export_age(state, messages[0].at_ms if messages else 0)
        if (
            0 < over_ms - state.now_ms <= _SECOND_MS
        ):  # a record further in the future is older than a change of the clock
            return (over_ms - state.now_ms) / 1000
        if not await self._count_lost(state, records):
            return 0.0
        traces = {} if self._tracer is None else traces_of(records)
        for message in _unsent(messages, state.sent):
            if not await self._attempt(state, message, traces):
                return 0.0
            state = state._replace(attempts=0)
        last = records[-1]
        done: dict[str, str | int] = {"cursor": last.record, "number": last.number}
        await self._states.change(self.name, done, delete=("sent",))
        return 0.0

    async def _attempt(self, state: EndpointState, message: Message, traces: Mapping[str, str]) -> bool:
        """Make one attempt; False: the message was not delivered, or this worker is not the leader any longer.

        `traces`: the traces of pings by their ids.
        """
        begin_ns = time.time_ns()
        attempt = await self.sink.send(message)
        if traces:
            self._record(message, traces, begin_ns, attempt)
        self._metrics.webhook_deliveries(self.name, attempt.outcome.value).inc()
        if attempt.outcome is Outcome.DELIVERED:
            if state.attempts:
                _log.info("webhook_recovered", endpoint=self.name, attempts=state.attempts + 1)
            return await self._states.change(
                self.name,
                {"sent": message.id},
                delete=("attempts", "due", "error", "oldest", "disabled"),
                add={"delivered": 1},
            )
        await self._store_failure(attempt, state.attempts + 1, message)
        return False

    def _record(
        self, message: Message, traces: Mapping[str, str], begin_ns: int, attempt: DeliveryAttempt
    ) -> None:
        """Record an attempt in the trace of each ping whose events the message has."""
        ids = dict.fromkeys(str(event.get("ping_id")) for event in message.data)
        for ping_id in ids:
            if self._tracer is not None and ping_id in traces:
                call = WebhookCall(
                    ping_id, self.name, message.kind, (begin_ns, time.time_ns()), attempt.status
                )
                delivered = attempt.outcome is Outcome.DELIVERED
                self._tracer.webhook(traces[ping_id], call, failed=not delivered)

    async def _store_failure(self, attempt: DeliveryAttempt, failures: int, message: Message) -> None:
        wait_s = delay_s(failures, _noise(), attempt.retry_after_s)
        error = attempt.error[:_ERROR_CHARACTERS]
        values: dict[str, str | int] = {
            "attempts": failures,
            "due": self._now_ms() + int(wait_s * 1000),
            "error": error,
            "oldest": message.at_ms,
        }
        if attempt.outcome is Outcome.DISABLED:
            values["disabled"] = self._digest
            _log.error("webhook_disabled", endpoint=self.name, error=error)
            self._metrics.webhook_disabled(self.name).set(1)
        elif failures == 1:
            _log.warning("webhook_failed", endpoint=self.name, error=error, retry_in_s=round(wait_s, 1))
        await self._states.change(self.name, values, add={"failed": 1})

    async def _count_lost(self, state: EndpointState, records: Sequence[StoredRecord]) -> bool:
        """Count the records that were removed before their delivery; False: this worker is not the leader any
        longer."""
        first = records[0].number
        if not state.number or not first or first <= state.number + 1:
            return True
        lost = first - state.number - 1
        _log.error("webhook_events_lost", endpoint=self.name, records=lost)
        self._metrics.webhook_records_lost(self.name).inc(lost)
        return await self._states.change(
            self.name, {"number": first - 1}, delete=("sent", "attempts"), add={"lost": lost}
        )

    def _export_age(self, state: EndpointState, oldest_ms: int) -> None:
        age_s = max(0.0, (state.now_ms - oldest_ms) / 1000) if oldest_ms else 0.0
        self._metrics.webhook_oldest_age_seconds(self.name).set(age_s)

    def _end_leadership(self) -> None:
        self._is_leader = False
        self._metrics.webhook_oldest_age_seconds(self.name).set(0)
        self._metrics.webhook_disabled(self.name).set(0)


def _unsent(messages: Sequence[Message], sent: str) -> Sequence[Message]:
    """The messages after the one with the id `sent`; all of them if none has it."""
    done = [number for number, message in enumerate(messages) if message.id == sent]
    return messages[done[0] + 1 :] if done else messages


def digest_of(settings: WebhookSettings) -> str:
    """A digest of an endpoint's settings: while it is disabled, a change enables it again. Secrets have at least 192
    random bits, so that none can be found from its digest."""
    texts = (settings.url.reveal(), *(secret.reveal() for secret in settings.secret), *settings.events)
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:32]
