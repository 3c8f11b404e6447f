"""Which pings have a trace, and the spans of their steps."""

import time
from typing import Any

import pytest

from gateway.delivery.batch import DeliveryBatch, Postponed
from gateway.errors import QueueFull, RhoPushError
from gateway.queue.append_batch import Accepted, IdempotencyKey, OnAppended
from gateway.queue.entries import Chunk, Lease
from gateway.store import keys
from gateway.tracing import PingTracer, WebhookCall, parse
from gateway.tracing.spans import SpanData
from protocols.ping.model import Ping
from protocols.verdict import Verdict, VerdictKind

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
UNSAMPLED = PARENT[:-1] + "0"
BATCH = "0123456789ab7abc8def01234567"


class Spans:
    """A tracer and its spans."""

    def __init__(self, ratio: float = 0.0) -> None:
        self.all: list[SpanData] = []
        self.tracer = PingTracer(self.all.append, ratio)

    def one(self, name: str) -> SpanData:
        (found,) = [span for span in self.all if span.name == name]
        return found


class Queue:
    """Keeps pings, and answers with a fixed outcome."""

    def __init__(self, outcome: Accepted | RhoPushError | None = None) -> None:
        self.pings: list[Ping] = []
        self.outcome = outcome
        self.done: list[OnAppended] = []

    def submit(self, ping: Ping, size: int, done: OnAppended, *, key: IdempotencyKey | None = None) -> str:
        self.pings.append(ping)
        self.done.append(done)
        return "7" * 32

    def answer(self) -> None:
        for done in self.done:
            done(self.outcome)


def submit(spans: Spans, traceparent: str | None, outcome: Accepted | RhoPushError | None = None) -> Queue:
    """Submit one ping through the tracer, and answer it."""
    queue = Queue(outcome)
    outcomes: list[Any] = []
    found = spans.tracer.queue_of(queue, traceparent)
    assert found.submit(Ping(users=("bob",)), 10, outcomes.append) == "7" * 32
    queue.answer()
    assert outcomes == [outcome]
    return queue


@pytest.mark.parametrize(
    ("ratio", "traceparent", "recorded"),
    [
        (0.0, PARENT, True),
        (1.0, UNSAMPLED, False),
        (0.0, None, False),
        (1.0, None, True),
        (1.0, "malformed", True),
        (0.0, "malformed", False),
    ],
)
def test_the_callers_flag_or_the_ratio_decides(ratio: float, traceparent: str | None, recorded: bool) -> None:
    spans = Spans(ratio)
    queue = submit(spans, traceparent)
    assert len(spans.all) == int(recorded)
    assert (queue.pings[0].traceparent is not None) is recorded


def test_the_ratio_is_a_share() -> None:
    spans, queue = Spans(0.25), Queue()
    recorded = sum(spans.tracer.queue_of(queue, None) is not queue for _ in range(4_000))
    assert 800 < recorded < 1_200


def test_an_unrecorded_ping_goes_to_the_queue_itself() -> None:
    queue = Queue()
    assert Spans().tracer.queue_of(queue, None) is queue
    assert Spans(1.0).tracer.queue_of(queue, UNSAMPLED) is queue
    later_version = "01" + UNSAMPLED[2:]
    assert Spans(1.0).tracer.queue_of(queue, later_version) is queue


def test_a_step_that_began_after_its_end_by_another_clock_has_no_length() -> None:
    spans, parent = Spans(), parse(PARENT)
    assert parent is not None
    spans.tracer.span("queue", parent, (20, 10), {})
    span = spans.one("queue")
    assert (span.begin_ns, span.end_ns) == (10, 10)


def test_the_ping_has_the_context_of_its_first_span() -> None:
    spans = Spans()
    queue = submit(spans, PARENT)
    span = spans.one("ingress")
    stored = parse(str(queue.pings[0].traceparent))
    assert stored is not None
    assert stored.trace_id == span.trace_id == int(PARENT.split("-")[1], 16)
    assert stored.span_id == span.span_id
    assert f"{span.parent_id:016x}" == PARENT.split("-")[2]
    assert span.attributes["rhopush.ping_id"] == "7" * 32


def test_the_first_span_has_the_outcome() -> None:
    spans = Spans()
    submit(spans, PARENT, QueueFull("full"))
    assert spans.one("ingress").attributes["rhopush.error"] == "queue_full"
    assert spans.one("ingress").failed
    spans = Spans()
    submit(spans, PARENT, Accepted("8" * 32, repeated=True))
    assert spans.one("ingress").attributes["rhopush.ping_id"] == "8" * 32
    assert spans.one("ingress").attributes["rhopush.repeated"] is True
    spans = Spans()
    submit(spans, PARENT, Accepted("8" * 32))
    assert "rhopush.repeated" not in spans.one("ingress").attributes


def batch_of(*pings: Ping, stream: str = keys.PINGS, **options: Any) -> DeliveryBatch:
    """A batch whose entry was just read."""
    lease = Lease(stream, "1-1", b"", len(pings), 10, redelivered=False)
    return DeliveryBatch(lease, BATCH, pings, lambda _: None, **options)


def test_the_steps_of_a_batch() -> None:
    spans = Spans()
    since_ms = int(time.time() * 1000) - 5_000
    traced = Ping(id=BATCH + "0001", accepted_ms=since_ms, traceparent=PARENT)
    batch = batch_of(Ping(id=BATCH + "0000", accepted_ms=since_ms), traced)
    spans.tracer.begin_batch(batch)
    assert batch.trace is not None
    batch.begin_ping({})
    batch.add_delivery("c0", "apns")
    batch.begin_ping({})
    for client, provider in (("c1", "apns"), ("c2", "apns"), ("c3", "fcm"), ("c4", "fcm")):
        batch.add_delivery(client, provider)
    batch.trace.planned(batch)
    for index in (0, 1, 2):
        batch.accept(index)
    batch.reject(3, "UNREGISTERED")
    batch.postpone(4, Verdict(VerdictKind.LATER, "503"), Postponed(1, 1, ""))
    batch.trace.ended(batch)
    assert sorted(span.name for span in spans.all) == ["delivery apns", "delivery fcm", "fan-out", "queue"]
    assert {f"{span.trace_id:032x}" for span in spans.all} == {PARENT.split("-")[1]}
    waited = spans.one("queue")
    assert waited.begin_ns == since_ms * 1_000_000
    assert waited.end_ns == spans.one("fan-out").begin_ns
    assert spans.one("fan-out").attributes["rhopush.deliveries"] == 4
    apns, fcm = spans.one("delivery apns"), spans.one("delivery fcm")
    assert apns.begin_ns == spans.one("fan-out").end_ns
    of_ping = {"rhopush.ping_id": BATCH + "0001"}
    assert spans.one("queue").attributes == of_ping
    assert apns.attributes == of_ping | {"rhopush.provider": "apns", "rhopush.accepted": 2}
    assert not apns.failed
    assert fcm.attributes == of_ping | {"rhopush.provider": "fcm", "rhopush.rejected": 1, "rhopush.later": 1}
    assert fcm.failed


def test_a_chunk_of_a_broadcast_has_one_span_a_provider() -> None:
    spans = Spans()
    ping = Ping(id=BATCH + "0000", accepted_ms=1_000, traceparent=PARENT)
    batch = batch_of(ping, stream=keys.CHUNKS, chunk=Chunk(ping, 3, attempt=2), bulk=True)
    spans.tracer.begin_batch(batch)
    batch.begin_ping({})
    for number in range(200):
        batch.add_delivery(f"c{number}", "apns")
    assert batch.trace is not None
    batch.trace.planned(batch)
    assert spans.one("fan-out").attributes["rhopush.attempt"] == 2
    for number in range(200):
        batch.accept(number)
    batch.trace.ended(batch)
    assert sorted(span.name for span in spans.all) == ["delivery apns", "fan-out"]


def test_a_batch_without_a_recorded_ping_has_no_trace() -> None:
    batch = batch_of(Ping(id=BATCH + "0000"), Ping(id=BATCH + "0001", traceparent="damaged"))
    Spans(1.0).tracer.begin_batch(batch)
    assert batch.trace is None


@pytest.mark.parametrize(("status", "failed"), [(204, False), (500, True), (None, True), (None, False)])
def test_a_call_of_a_webhook_has_a_span(status: int | None, failed: bool) -> None:
    spans = Spans()
    spans.tracer.webhook(
        PARENT, WebhookCall("7" * 32, "crm", "ping.completed", (5, 9), status), failed=failed
    )
    span = spans.one("webhook crm")
    assert (span.begin_ns, span.end_ns) == (5, 9)
    assert span.failed is failed
    assert span.attributes.get("http.response.status_code") == status
    assert span.attributes["rhopush.ping_id"] == "7" * 32


def test_a_webhook_of_a_ping_with_a_damaged_trace_has_no_span() -> None:
    spans = Spans(1.0)
    spans.tracer.webhook("damaged", WebhookCall("7" * 32, "crm", "", (5, 9), 204), failed=False)
    assert not spans.all
