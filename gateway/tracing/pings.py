"""The spans of pings, and the decision which pings have any.

| span | begins | ends |
| --- | --- | --- |
| `ingress` | the ping is submitted to the queue | it is durable, or refused |
| `queue` | the ping is durable, or its retry is due | a worker reads its entry |
| `fan-out` | the entry is read | its deliveries are offered to the lanes |
| `delivery PROVIDER` | the deliveries are offered | each of them has a verdict |
| `webhook NAME` | `PingTracer.webhook` | |

All of them are children of `ingress`, whose context is stored in the ping (`Ping.traceparent`) and so survives a
restart. A chunk of a broadcast has one span for each provider, and no device has a span.
"""

import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from gateway.delivery.batch import ACCEPTED, DeliveryBatch
from gateway.errors import RhoPushError
from gateway.queue.append_batch import Accepted, IdempotencyKey, OnAppended
from gateway.queue.producer import PingQueue
from gateway.tracing.traceparent import TraceContext, parse
from protocols.ping.model import Ping

Attributes = Mapping[str, str | int | bool]
_MS: Final = 1_000_000
"""Nanoseconds of a millisecond."""


class PingTracer:
    """Makes the spans of pings.

    Args:
        tracer: OpenTelemetry's tracer.
        ratio: share of the pings without a caller's trace that are recorded (`tracing.sample`).
        api: OpenTelemetry's module `opentelemetry.trace`.
    """

    def __init__(self, tracer: Any, ratio: float, api: Any) -> None:
        self._tracer = tracer
        self._ratio = ratio
        self._api = api
        self._random = random.random  # unpredictable numbers are not needed

    # -- ingress ---------------------------------------------------------------------------------------------

    def queue_of(self, queue: PingQueue, traceparent: str | None) -> PingQueue:
        """Return the queue for one ping: `queue` itself if the ping is not recorded.

        Args:
            queue: the queue, or the schedule of an instant.
            traceparent: the caller's header; None or malformed: the ratio decides.
        """
        parent = None if traceparent is None else parse(traceparent)
        sampled = self._random() < self._ratio if parent is None else parent.sampled
        return _TracedSubmission(self, queue, parent) if sampled else queue

    def begin_ingress(self, parent: TraceContext | None, ping: Ping) -> Any:
        """Start the first span of a ping."""
        attributes = {"rhopush.ingress": ping.ingress, "rhopush.users": len(ping.users)}
        kind = self._api.SpanKind.SERVER
        return self._tracer.start_span("ingress", self._context(parent), kind, attributes)

    def end_ingress(self, span: Any, ping_id: str, outcome: Accepted | RhoPushError | None) -> None:
        """End the first span with the outcome of the append."""
        if isinstance(outcome, RhoPushError):
            span.set_attribute("rhopush.error", outcome.code)
            span.set_status(self._api.StatusCode.ERROR, outcome.code)
        elif outcome is not None:
            ping_id = outcome.ping_id
            span.set_attribute("rhopush.repeated", outcome.repeated)
        span.set_attribute("rhopush.ping_id", ping_id)
        span.end()

    # -- later steps -----------------------------------------------------------------------------------------

    def begin_batch(self, batch: DeliveryBatch) -> None:
        """Attach a trace to a batch that was just read, if one of its pings is recorded."""
        traced = [
            (number, context)
            for number, ping in enumerate(batch.pings)
            if ping.traceparent is not None and (context := parse(ping.traceparent)) is not None
        ]
        if traced:
            batch.trace = BatchTrace(self, traced)

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
            name: of the span.
            parent: the span `ingress` of the ping.
            times_ns: begin and end, epoch nanoseconds.
            attributes: of the span.
            failed: whether the step has an error.
            is_call: whether the step is a call of another service.
        """
        kind = self._api.SpanKind.CLIENT if is_call else self._api.SpanKind.INTERNAL
        begin_ns, end_ns = times_ns
        made = self._tracer.start_span(
            name, self._context(parent), kind, attributes, start_time=min(begin_ns, end_ns)
        )
        if failed:
            made.set_status(self._api.StatusCode.ERROR)
        made.end(end_ns)

    def webhook(
        self, traceparent: str | None, name: str, times_ns: tuple[int, int], status: int | None
    ) -> None:
        """Record a call of a webhook for a ping.

        Args:
            traceparent: `Ping.traceparent`; None: the ping is not recorded.
            name: of the webhook.
            times_ns: begin and end of the call, epoch nanoseconds.
            status: HTTP status of the response; None: there was none.
        """
        parent = None if traceparent is None else parse(traceparent)
        if parent is None:
            return
        attributes: dict[str, str | int | bool] = {"rhopush.webhook": name}
        if status is not None:
            attributes["http.response.status_code"] = status
        failed = status is None or status >= 300
        self.span(f"webhook {name}", parent, times_ns, attributes, failed=failed, is_call=True)

    def _context(self, parent: TraceContext | None) -> Any:
        """Return OpenTelemetry's form of a context; without a parent, an empty one."""
        api = self._api
        if parent is None:
            return api.set_span_in_context(api.INVALID_SPAN)
        flags = api.TraceFlags(api.TraceFlags.SAMPLED)
        remote = api.SpanContext(parent.trace_id, parent.span_id, is_remote=True, trace_flags=flags)
        return api.set_span_in_context(api.NonRecordingSpan(remote))


class _TracedSubmission:
    """The queue for one recorded ping."""

    __slots__ = ("_parent", "_queue", "_tracer")

    def __init__(self, tracer: PingTracer, queue: PingQueue, parent: TraceContext | None) -> None:
        self._tracer = tracer
        self._queue = queue
        self._parent = parent

    def submit(self, ping: Ping, size: int, done: OnAppended, *, key: IdempotencyKey | None = None) -> str:
        """Submit the ping with the context of its span `ingress`, which ends with the outcome."""
        span = self._tracer.begin_ingress(self._parent, ping)
        own = span.get_span_context()
        context = TraceContext(own.trace_id, own.span_id, sampled=True)
        ping_id = ""

        def appended(outcome: Accepted | RhoPushError | None) -> None:
            self._tracer.end_ingress(span, ping_id, outcome)
            done(outcome)

        traced = msgspec.structs.replace(ping, traceparent=str(context))
        ping_id = self._queue.submit(traced, size, appended, key=key)
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
        spans = list(batch.spans())
        for number, context in self._pings:
            ping = batch.pings[number]
            first, last = spans[number]
            about: Attributes = {"rhopush.ping_id": ping.id, "rhopush.attempt": batch.attempt}
            if batch.chunk_index <= 0:  # other chunks of a broadcast wait for its splitting, not in the queue
                self._tracer.span("queue", context, (_waiting_since_ms(batch) * _MS, self._begin_ns), about)
            counts: Attributes = {**about, "rhopush.deliveries": last - first}
            self._tracer.span("fan-out", context, (self._begin_ns, now_ns), counts)

    def ended(self, batch: DeliveryBatch) -> None:
        """Record the deliveries by provider: each of them has a verdict."""
        times_ns = (self._planned_ns, time.time_ns())
        spans = list(batch.spans())
        for number, context in self._pings:
            indexes = range(*spans[number])
            of_provider = Counter(batch.chosen[index][1] for index in indexes)
            accepted = Counter(batch.chosen[index][1] for index in indexes if batch.states[index] == ACCEPTED)
            later = Counter(batch.chosen[index][1] for index in indexes if index in batch.postponed)
            for provider, count in of_provider.items():
                rejected = count - accepted[provider] - later[provider]
                about: Attributes = {
                    "rhopush.ping_id": batch.pings[number].id,
                    "rhopush.provider": provider,
                    "rhopush.attempt": batch.attempt,
                    "rhopush.accepted": accepted[provider],
                    "rhopush.rejected": rejected,
                    "rhopush.later": later[provider],
                }
                failed = accepted[provider] < count
                name = f"delivery {provider}"
                self._tracer.span(name, context, times_ns, about, failed=failed, is_call=True)


def _waiting_since_ms(batch: DeliveryBatch) -> int:
    """Return the time from which the entry waited: the first attempt of a retry, else the acceptance of the pings."""
    return batch.first_ms or batch.since_ms
