"""Delivery to one endpoint: its messages in order, each repeated until the receiver accepts it.

The order of an endpoint's messages is that of the outbox, so that the events of each ping arrive in their order. A
message that fails is repeated with the same id and body; no later message overtakes it. After a kill, the next leader
repeats at most the message whose acceptance was not stored. Before the first attempt of a message its id and its last
record are stored, so that records that are removed or added meanwhile change neither its id nor what follows it.
"""

import contextlib
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
from gateway.webhooks.endpoint_state import PROGRESS, EndpointState, EndpointStates
from gateway.webhooks.outbox import SECOND_MS, Outbox, StoredRecord, event_record, traces_of
from gateway.webhooks.sink import Sink
from protocols.webhooks.attempts import RETRY_AFTER_MAX_S, DeliveryAttempt, Outcome, delay_s
from protocols.webhooks.events import Message
from protocols.webhooks.progress import DeliveryProgress, position, remaining

_log = structlog.get_logger("webhooks")

POLL_S: Final = 0.5
"""Interval at which a leader looks for new records."""
STANDBY_S: Final = 5.0
"""Interval at which a worker that is not the leader tries to become it."""
_WAIT_MAX_S: Final = 2 * RETRY_AFTER_MAX_S
"""Longest delay that is observed: a longer one was stored before Redis' clock was set back."""
LOST_S: Final = 60.0
"""Interval at which records that were removed are counted while the endpoint waits for its next attempt."""
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
        self.digest: Final = digest_of(settings)
        self._has_state = False
        self._may_lead = False  # from the request for the leadership on: its answer can be lost
        self._counted_s = float("-inf")
        metrics.webhook_oldest_age_seconds(name).set(0)
        metrics.webhook_disabled(name).set(0)
        metrics.webhook_records_lost(name)  # Prometheus sees no increase in the first value of a series

    async def step(self) -> float:
        """Deliver the messages of the next second if that second has ended, and return the seconds until the next step.

        Raises:
            StoreDown: Redis does not answer.
        """
        if not self._has_state:  # Redis may not have answered when the dispatcher began the endpoint
            await self._states.begin((self.name,))
            self._has_state = True
        self._may_lead = True
        state = await self._states.hold(self.name)
        if state is None:
            self._end_leadership()
            return STANDBY_S
        disabled = state.disabled == self.digest
        self._metrics.webhook_disabled(self.name).set(int(disabled))
        waiting_s = self._waiting_s(state)
        if not await self._count_lost(state, waiting=disabled or waiting_s > 0):
            return 0.0
        if disabled or waiting_s:
            self._export_age(state, state.oldest_ms)
            return min(waiting_s, POLL_S) if waiting_s else POLL_S
        return await self._deliver_second(state)

    async def close(self) -> None:
        """End the leadership, and close the endpoint.

        Raises:
            StoreDown: Redis does not answer: the leadership ends with its lease.
        """
        may_lead = self._may_lead
        self._end_leadership()
        await self.sink.close()
        if may_lead:
            await self._states.release(self.name)

    def _waiting_s(self, state: EndpointState) -> float:
        """Return the seconds until the next attempt; 0 also if other settings caused the failure."""
        if state.failed_with not in ("", self.digest):
            return 0.0
        waiting_s = max(0.0, (state.due_ms - self._now_ms()) / 1000)
        return waiting_s if waiting_s <= _WAIT_MAX_S else 0.0

    async def _deliver_second(self, state: EndpointState) -> float:
        first = await self._outbox.next_record(state.cursor)
        if first is None:
            self._export_age(state, 0)
            if state.oldest_ms:  # the event was removed
                await self._states.change(self.name, {}, delete=("oldest", "due", *PROGRESS))
            return POLL_S
        left_ms = (first.second + 1) * SECOND_MS - state.now_ms
        if 0 < left_ms <= SECOND_MS:  # a record further in the future is older than a change of the clock
            self._export_age(state, first.at_ms if event_record(first, self._wanted).events else 0)
            return left_ms / 1000
        records, progress = _begun_records(await self._outbox.next_second(state.cursor), state.progress)
        if not records:  # all of them were removed meanwhile
            return 0.0
        messages = remaining([event_record(record, self._wanted) for record in records], progress)
        self._export_age(state, messages[0].at_ms if messages else 0)
        last = records[-1]
        progress = progress._replace(until=last.record)
        traces = {} if self._tracer is None else traces_of(records)
        for message in messages:
            progress = progress._replace(tried=message.id, tried_until=message.last)
            if not await self._attempt(state, progress, message, traces):
                return 0.0
            progress = DeliveryProgress(last.record, message.id, message.last)
            state = state._replace(attempts=0, progress=progress)
        done: dict[str, str | int] = {"cursor": last.record, "number": last.number}
        await self._states.change(self.name, done, delete=PROGRESS)
        return 0.0

    async def _attempt(
        self, state: EndpointState, progress: DeliveryProgress, message: Message, traces: Mapping[str, str]
    ) -> bool:
        """Make one attempt; False: the message was not delivered, or this worker is no longer the leader.

        `progress`: the progress with this message as the tried one. `traces`: the traces of pings by their ids.
        """
        if progress != state.progress and not await self._states.change(self.name, progress._asdict()):
            return False
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
                DeliveryProgress(progress.until, message.id, message.last)._asdict(),
                delete=("attempts", "due", "error", "oldest", "disabled", "failed_with"),
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
            "failed_with": self.digest,
        }
        if attempt.outcome is Outcome.DISABLED:
            values["disabled"] = self.digest
            _log.error("webhook_disabled", endpoint=self.name, error=error)
            self._metrics.webhook_disabled(self.name).set(1)
        elif failures == 1:
            _log.warning("webhook_failed", endpoint=self.name, error=error, retry_in_s=round(wait_s, 1))
        await self._states.change(self.name, values, add={"failed": 1})

    async def _count_lost(self, state: EndpointState, *, waiting: bool) -> bool:
        """Count the records that were removed before their delivery; False: this worker is no longer the leader.

        `waiting`: whether no attempt follows; then they are counted once a minute.
        """
        lost = state.removed - state.number
        now_s = time.monotonic()
        if not state.number or lost <= 0 or (waiting and now_s - self._counted_s < LOST_S):
            return True
        if not await self._states.change(self.name, {"number": state.removed}, add={"lost": lost}):
            return False
        self._counted_s = now_s
        _log.error("webhook_events_lost", endpoint=self.name, records=lost)
        self._metrics.webhook_records_lost(self.name).inc(lost)
        return True

    def _export_age(self, state: EndpointState, oldest_ms: int) -> None:
        age_s = max(0.0, (state.now_ms - oldest_ms) / 1000) if oldest_ms else 0.0
        self._metrics.webhook_oldest_age_seconds(self.name).set(age_s)

    def _end_leadership(self) -> None:
        self._may_lead = False
        self._metrics.webhook_oldest_age_seconds(self.name).set(0)
        self._metrics.webhook_disabled(self.name).set(0)


def _begun_records(
    records: Sequence[StoredRecord], progress: DeliveryProgress
) -> tuple[Sequence[StoredRecord], DeliveryProgress]:
    """Return the records of a second whose delivery has begun, without those that were added since, and its progress;
    all records, and no progress, if it has not begun."""
    last = position(progress.until)
    known = [record for record in records if position(record.record) <= last]
    return (known, progress) if known else (records, DeliveryProgress())


def digest_of(settings: WebhookSettings) -> str:
    """Return a digest of an endpoint's settings, and of the file that they name: a change enables a disabled endpoint
    again. Secrets have at least 192 random bits, so that they cannot be derived from the digest."""
    texts = (settings.url.reveal(), *(secret.reveal() for secret in settings.secret), *settings.events)
    found = hashlib.sha256("\0".join(texts).encode())
    if settings.ca_file is not None:
        found.update(b"\0" + bytes(settings.ca_file))
        with contextlib.suppress(OSError):
            found.update(b"\0" + settings.ca_file.read_bytes())
    return found.hexdigest()[:32]
