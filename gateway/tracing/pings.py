"""The spans of pings, and the decision which pings are recorded.

| span | begins | ends |
| --- | --- | --- |
| `ingress` | the ping is submitted to the queue | it is durable, or refused |
| `queue` | the ping is durable, or its retry is due | a worker reads its entry |
| `fan-out` | the entry is read | its deliveries are offered to the lanes |
| `delivery PROVIDER` | the deliveries are offered | each of them has a verdict |
| `webhook NAME` | a message with events of the ping is sent to an endpoint | the endpoint has answered |

All of them are children of `ingress`, whose context is stored in the ping (`Ping.traceparent`) and so survives a
restart. A chunk of a broadcast has one span for each provider, and no device has a span.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from gateway.delivery.batch import ACCEPTED, DeliveryBatch
from gateway.errors import RhoPushError
from gateway.queue.append_batch import Accepted, IdempotencyKey, OnAppended
from gateway.queue.ping_queue import PingQueue
from gateway.tracing.spans import Kind, SpanData
from gateway.tracing.traceparent import TraceContext, is_unsampled, parse
from protocols.ping.model import Ping

Attributes = Mapping[str, str | int | bool]
_MS: Final = 1_000_000
"""Nanoseconds of a millisecond."""
_ACCEPTED: Final = "rhopush.accepted"
_REJECTED: Final = "rhopush.rejected"
_LATER: Final = "rhopush.later"


class WebhookCall(NamedTuple):
    """One attempt to deliver a message to an endpoint.

    Attributes:
        ping_id: the ping.
        endpoint: name of the endpoint.
        kind: event type of the message.
        times_ns: begin and end, epoch nanoseconds.
        status: HTTP status of the response; None: there was none, or the endpoint is no HTTP server.
    """

    ping_id: str
    endpoint: str
    kind: str
    times_ns: tuple[int, int]
    status: int | None


class PingTracer:
    """Makes the spans of pings.

    Args:
        record: receives the spans.
        ratio: share of the pings without a caller's trace that are recorded (`tracing.sample`).
    """

    def __init__(self, record: Callable[[SpanData], None], ratio: float) -> None:
        self._record = record
        self._ratio = ratio
        self._random = random.random  # unpredictable numbers are not needed

    # -- ingress ---------------------------------------------------------------------------------------------

    def queue_of(self, queue: PingQueue, traceparent: str | None) -> PingQueue:
        """Return the queue for one ping: `queue` itself if the ping is not recorded.

        Args:
            queue: the queue, or the schedule of a certain time.
            traceparent: the caller's header; None or malformed: the ratio decides.
        """
        if traceparent is not None:
            if is_unsampled(traceparent):
                return queue
            parent = parse(traceparent)
            if parent is not None:
                return _TracedSubmission(self, queue, parent) if parent.sampled else queue
        return _TracedSubmission(self, queue, None) if self._random() < self._ratio else queue

    def end_ingress(
        self,
        context: TraceContext,
        parent_id: int,
        begin_ns: int,
        about: dict[str, str | int | bool],
        outcome: Accepted | RhoPushError | None,
    ) -> None:
        """Record the first span of a ping, with the outcome of the append.

        Args:
            context: context of the span.
            parent_id: id of the caller's span; 0: there is none.
            begin_ns: begin of the span, epoch nanoseconds.
            about: attributes of the span.
            outcome: outcome that the queue reports.
        """
        failed = isinstance(outcome, RhoPushError)
        if isinstance(outcome, RhoPushError):
            about["rhopush.error"] = outcome.code
        elif outcome is not None:
            about |= {"rhopush.ping_id": outcome.ping_id, **_present({"rhopush.repeated": outcome.repeated})}
        times_ns = (begin_ns, time.time_ns())
        self._record(SpanData("ingress", *context[:2], parent_id, *times_ns, "SERVER", about, failed))

    # -- later steps -----------------------------------------------------------------------------------------

    def begin_batch(self, batch: DeliveryBatch) -> None:
        """Attach a trace to a batch that was just read, if one of its pings is recorded."""
        traced = [number for number, ping in enumerate(batch.pings) if ping.traceparent]
        if not traced:
            return
        contexts = [(number, parse(batch.pings[number].traceparent or "")) for number in traced]
        recorded = [(number, context) for number, context in contexts if context is not None]
        if recorded:
            batch.attach_trace(BatchTrace(self, recorded))

    def span(
        self,
        name: str,
        parent: TraceContext,
        times_ns: tuple[int, int],
        attributes: Attributes,
        *,
        failed: bool = False,
        is_call: bool = False,
    ) -> None:
        """Record a step that has ended.

        Args:
            name: name of the span.
            parent: the span `ingress` of the ping.
            times_ns: begin and end, epoch nanoseconds.
            attributes: attributes of the span.
            failed: whether the step has failed.
            is_call: whether the step is a call of another service.
        """
        begin_ns, end_ns = times_ns
        begin_ns = min(begin_ns, end_ns)  # the clocks of two gateways differ
        span_id = random.getrandbits(64) or 1
        kind: Kind = "CLIENT" if is_call else "INTERNAL"
        self._record(
            SpanData(
                name, parent.trace_id, span_id, parent.span_id, begin_ns, end_ns, kind, attributes, failed
            )
        )

    def webhook(self, traceparent: str, call: WebhookCall, *, failed: bool) -> None:
        """Record a call of a webhook for a ping.

        Args:
            traceparent: `Ping.traceparent`.
            call: the call.
            failed: whether the endpoint did not accept the message.
        """
        parent = parse(traceparent)
        if parent is None:
            return
        attributes: dict[str, str | int | bool] = {
            "rhopush.ping_id": call.ping_id,
            "rhopush.webhook": call.endpoint,
            "rhopush.event": call.kind,
        }
        if call.status is not None:
            attributes["http.response.status_code"] = call.status
        name = f"webhook {call.endpoint}"
        self.span(name, parent, call.times_ns, attributes, failed=failed, is_call=True)


class _TracedSubmission:
    """The queue for one recorded ping."""

    __slots__ = ("_parent", "_queue", "_tracer")

    def __init__(self, tracer: PingTracer, queue: PingQueue, parent: TraceContext | None) -> None:
        self._tracer = tracer
        self._queue = queue
        self._parent = parent

    def submit(self, ping: Ping, size: int, done: OnAppended, *, key: IdempotencyKey | None = None) -> str:
        """Submit the ping with the context of its span `ingress`, which ends with the outcome."""
        parent = self._parent
        begin_ns = time.time_ns()
        trace_id, parent_id = (random.getrandbits(128) or 1, 0) if parent is None else parent[:2]
        context = TraceContext(trace_id, random.getrandbits(64) or 1, sampled=True)
        about: dict[str, str | int | bool] = {
            "rhopush.ingress": ping.ingress,
            "rhopush.users": len(ping.users),
        }

        def appended(outcome: Accepted | RhoPushError | None) -> None:
            self._tracer.end_ingress(context, parent_id, begin_ns, about, outcome)
            done(outcome)

        traced = msgspec.structs.replace(ping, traceparent=str(context))
        ping_id = about["rhopush.ping_id"] = self._queue.submit(traced, size, appended, key=key)
        return ping_id


class BatchTrace:
    """The times of a batch with recorded pings (`gateway.delivery.batch.Trace`).

    Args:
        tracer: makes the spans.
        pings: the number of each recorded ping in the batch, and its context.
    """

    __slots__ = ("_begin_ns", "_pings", "_planned_ns", "_tracer")

    def __init__(self, tracer: PingTracer, pings: Sequence[tuple[int, TraceContext]]) -> None:
        self._tracer = tracer
        self._pings = pings
        self._begin_ns = time.time_ns()
        self._planned_ns = self._begin_ns

    def planned(self, batch: DeliveryBatch) -> None:
        """Record the fan-out: the deliveries of the batch are offered to the lanes now."""
        self._planned_ns = now_ns = time.time_ns()
        for number, context in self._pings:
            ping = batch.pings[number]
            first, last = batch.span_of(number)
            about: Attributes = {"rhopush.ping_id": ping.id, **_present({"rhopush.attempt": batch.attempt})}
            if batch.chunk_index <= 0:  # later chunks of a broadcast wait for the splitting, not in the queue
                self._tracer.span("queue", context, (_waiting_since_ms(batch) * _MS, self._begin_ns), about)
            counts: Attributes = {**about, "rhopush.deliveries": last - first}
            self._tracer.span("fan-out", context, (self._begin_ns, now_ns), counts)

    def ended(self, batch: DeliveryBatch) -> None:
        """Record the deliveries by provider: each of them has a verdict."""
        times_ns = (self._planned_ns, time.time_ns())
        for number, context in self._pings:
            ping_id = batch.pings[number].id
            for provider, numbers in _outcomes(batch, number).items():
                about: Attributes = {
                    "rhopush.ping_id": ping_id,
                    "rhopush.provider": provider,
                    **_present({"rhopush.attempt": batch.attempt} | numbers),
                }
                failed = bool(numbers[_REJECTED] or numbers[_LATER])
                name = f"delivery {provider}"
                self._tracer.span(name, context, times_ns, about, failed=failed, is_call=True)


def _outcomes(batch: DeliveryBatch, number: int) -> dict[str, dict[str, int]]:
    """Return the numbers of accepted, rejected and postponed deliveries of one ping, by provider."""
    found: dict[str, dict[str, int]] = {}
    for index in range(*batch.span_of(number)):
        provider = batch.chosen[index][1]
        numbers = found.get(provider)
        if numbers is None:
            numbers = found[provider] = {_ACCEPTED: 0, _REJECTED: 0, _LATER: 0}
        if batch.states[index] == ACCEPTED:
            numbers[_ACCEPTED] += 1
        else:
            numbers[_LATER if index in batch.postponed else _REJECTED] += 1
    return found


def _present(attributes: Mapping[str, int | bool]) -> Attributes:
    """Return the attributes that are neither 0 nor False: each attribute adds to the cost of the export."""
    return {name: value for name, value in attributes.items() if value}


def _waiting_since_ms(batch: DeliveryBatch) -> int:
    """Return the time from which the entry waited: the first attempt of a retry, else the acceptance of the pings."""
    return batch.first_ms or batch.since_ms
