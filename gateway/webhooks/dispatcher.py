"""All endpoints of a worker, each with a task of its own, so that a slow or unreachable endpoint does not delay the
others."""

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Any, Final

import structlog

from gateway.clock import SHARED_CLOCK
from gateway.errors import CredentialError, NotFound, StoreDown
from gateway.metrics import Metrics
from gateway.queue.outbox import EventPlan
from gateway.scheduling.background import keep_running
from gateway.settings import Settings, WebhookSettings
from gateway.store.connection import RedisConnection
from gateway.tracing import PingTracer
from gateway.webhooks.conditions import ConditionMonitor
from gateway.webhooks.endpoint_delivery import EndpointDelivery, digest_of
from gateway.webhooks.endpoint_state import EndpointState, EndpointStates
from gateway.webhooks.file_sink import FileSink
from gateway.webhooks.http_sink import HttpSink
from gateway.webhooks.outbox import Outbox
from gateway.webhooks.ping_events import KnownEndpoint, PingEvents
from gateway.webhooks.sink import Sink
from gateway.webhooks.stream_sink import StreamSink
from gateway.webhooks.unusable_sink import UnusableSink
from protocols.instants import instant_text
from protocols.webhooks.attempts import Outcome
from protocols.webhooks.events import trial_message
from protocols.webhooks.target import TargetKind

_log = structlog.get_logger("webhooks")

SWEEP_S: Final = 60.0
CONDITIONS_S: Final = 1.0
_RETRY_S: Final = 1.0
"""Pause after Redis did not answer, or after a defect."""


class WebhookDispatcher:
    """The endpoints of this worker.

    Args:
        connection: the queue's Redis.
        worker: name of this worker, different in each worker of all gateways.
        plan: receives the event types that settlements must store.
        metrics: for the endpoints.
        conditions: reports lanes and credentials.
        tracer: records the calls for the pings that have a trace; None: there are no traces.
    """

    def __init__(
        self,
        connection: RedisConnection,
        worker: str,
        plan: EventPlan,
        metrics: Metrics,
        conditions: ConditionMonitor,
        tracer: PingTracer | None = None,
    ) -> None:
        self._connection = connection
        self._plan = plan
        self._metrics = metrics
        self._conditions = conditions
        self._tracer = tracer
        self._outbox = Outbox(connection)
        self._states = EndpointStates(connection, worker)
        self._ping_events = PingEvents(connection, self._outbox, self._states)
        self._deliveries: dict[str, EndpointDelivery] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def open(self, settings: Settings) -> None:
        """Start the delivery. New endpoints receive the events from now on, or from the time at which Redis answers."""
        if settings.webhooks:
            try:
                await self._states.begin(settings.webhooks)
            except StoreDown as error:
                _log.warning("webhook_start_delayed", error=error.message)
        self.apply_settings(settings)

    async def close(self) -> None:
        """Stop the delivery. The next leader of each endpoint repeats at most the message that was being sent."""
        for name in list(self._tasks):
            self._end(name)
        await asyncio.gather(*self._closing, return_exceptions=True)

    def apply_settings(self, settings: Settings) -> None:
        """Start, change and stop endpoints according to the settings."""
        webhooks = settings.webhooks
        self._plan.limit = settings.limits.webhook_bytes
        self._plan.wanted = frozenset(kind for one in webhooks.values() for kind in one.events)
        self._conditions.apply_settings(settings)
        for name in [*self._deliveries]:
            endpoint, running = webhooks.get(name), self._deliveries[name]
            if endpoint is None or endpoint != running.settings or digest_of(endpoint) != running.digest:
                self._end(name)
        for name, endpoint in webhooks.items():
            if name not in self._deliveries:
                self._begin(name, endpoint)
        if webhooks and _COMMON not in self._tasks:
            self._tasks[_COMMON] = asyncio.create_task(self._common(), name="webhooks")
        elif not webhooks and _COMMON in self._tasks:
            self._end(_COMMON)

    # -- operators -------------------------------------------------------------------------------------------

    async def listing(self) -> list[dict[str, Any]]:
        """Return the endpoints with their states, without secrets.

        Raises:
            StoreDown: Redis does not answer.
        """
        return [await self._described(delivery) for _, delivery in sorted(self._deliveries.items())]

    async def replay(self, name: str, since_ms: int) -> dict[str, Any]:
        """Deliver the events since an instant again, as far as the outbox holds them.

        Raises:
            NotFound: there is no such endpoint.
            StoreDown: Redis does not answer.
        """
        delivery = self._known(name)
        # Whole seconds, so that the messages are the same as before.
        since_ms = max(1_000, since_ms // 1000 * 1000)
        await self._states.change(name, {"replay": since_ms}, as_leader=False)
        oldest_ms = await self._outbox.oldest_ms()
        _log.info("webhook_replayed", endpoint=name, since=instant_text(since_ms))
        return {
            "endpoint": name,
            "state": _word(delivery, await self._states.read(name)),
            "since": instant_text(since_ms),
            "oldest": None if oldest_ms is None else instant_text(oldest_ms),
        }

    async def test(self, name: str) -> dict[str, Any]:
        """Send one message of the type `webhook.test`; a success enables an endpoint that is disabled.

        Raises:
            NotFound: there is no such endpoint.
            StoreDown: Redis does not answer.
        """
        delivery = self._known(name)
        message = trial_message(name, secrets.token_hex(12), SHARED_CLOCK.now_ms())
        attempt = await delivery.sink.send(message)
        if attempt.outcome is Outcome.DELIVERED:
            await self._states.change(name, {}, delete=("disabled", "due"), as_leader=False)
        return {
            "endpoint": name,
            "id": message.id,
            "result": attempt.outcome.value,
            "status": attempt.status,
            "error": attempt.error or None,
        }

    async def of_ping(self, ping_id: str) -> list[dict[str, Any]]:
        """Return the messages with events of a ping, and how far each endpoint has received them (`PingEvents.of`).

        Raises:
            StoreDown: Redis does not answer.
        """
        endpoints = {
            name: KnownEndpoint(delivery.settings, delivery.digest)
            for name, delivery in self._deliveries.items()
        }
        return await self._ping_events.of(ping_id, endpoints)

    def _known(self, name: str) -> EndpointDelivery:
        delivery = self._deliveries.get(name)
        if delivery is None:
            raise NotFound(f"there is no webhook {name}")
        return delivery

    async def _described(self, delivery: EndpointDelivery) -> dict[str, Any]:
        state = await self._states.read(delivery.name)
        now_ms = SHARED_CLOCK.now_ms()
        due_ms = 0 if state.disabled == delivery.digest else state.due_ms
        age_s = max(0, now_ms - state.oldest_ms) // 1000 if state.oldest_ms else 0
        return {
            "name": delivery.name,
            "url": delivery.settings.target.shown,
            "events": list(delivery.settings.events),
            "state": _word(delivery, state),
            "oldest_age_s": age_s,
            "error": state.error or None,
            "next_attempt": instant_text(due_ms) if due_ms else None,
            "delivered": state.delivered,
            "failed": state.failed,
            "lost": state.lost,
        }

    # -- tasks -----------------------------------------------------------------------------------------------

    def _begin(self, name: str, endpoint: WebhookSettings) -> None:
        delivery = EndpointDelivery(
            name,
            endpoint,
            self._sink(endpoint),
            self._states,
            self._outbox,
            self._metrics,
            tracer=self._tracer,
        )
        self._deliveries[name] = delivery
        former = [task for task in self._closing if task.get_name() == _closing_name(name)]
        self._tasks[name] = asyncio.create_task(self._run(delivery, former), name=f"webhook:{name}")

    def _sink(self, endpoint: WebhookSettings) -> Sink:
        target = endpoint.target
        if target.kind is TargetKind.STREAM:
            return StreamSink(self._connection, target.address)
        if target.kind is TargetKind.FILE:
            return FileSink(Path(target.address))
        try:
            return HttpSink(endpoint)
        except CredentialError as error:
            return UnusableSink(error.message)

    def _end(self, name: str) -> None:
        task = asyncio.create_task(
            self._ended(self._tasks.pop(name), self._deliveries.pop(name, None)), name=_closing_name(name)
        )
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    @staticmethod
    async def _ended(task: asyncio.Task[None], delivery: EndpointDelivery | None) -> None:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        if delivery is not None:
            with contextlib.suppress(StoreDown):
                await delivery.close()

    async def _run(self, delivery: EndpointDelivery, former: Collection[asyncio.Task[None]]) -> None:
        """Deliver until the task is cancelled, after the tasks that close former deliveries of the endpoint."""
        if former:  # they release the leadership of this worker
            await asyncio.wait(former)

        async def deliver() -> None:
            while True:
                wait_s = await delivery.step()
                await asyncio.sleep(wait_s)

        await self._keep_running(deliver, f"webhook:{delivery.name}")

    async def _common(self) -> None:
        """Report conditions and sweep the outbox until the task is cancelled."""
        await asyncio.gather(
            self._keep_running(self._report_conditions, "webhook conditions"),
            self._keep_running(self._sweep_outbox, "webhook outbox"),
        )

    async def _report_conditions(self) -> None:
        while True:
            await self._conditions.step()
            await asyncio.sleep(CONDITIONS_S)

    async def _sweep_outbox(self) -> None:
        while True:
            await self._outbox.sweep(self._plan.limit)
            await asyncio.sleep(SWEEP_S)

    async def _keep_running(self, work: Callable[[], Awaitable[None]], name: str) -> None:
        await keep_running(work, name, restart_s=_RETRY_S, on_error=self._on_error)

    def _on_error(self, error: BaseException) -> None:
        if isinstance(error, StoreDown):
            self._metrics.store_errors("webhooks").inc()


_COMMON: Final = ""
"""Name of the task that serves all endpoints; it is not a valid name of an endpoint."""


def _closing_name(name: str) -> str:
    """Return the name of the task that closes a delivery of an endpoint."""
    return f"webhook end:{name}"


def _word(delivery: EndpointDelivery, state: EndpointState) -> str:
    if state.disabled == delivery.digest:
        return "disabled"
    return "failing" if state.attempts else "delivering"
