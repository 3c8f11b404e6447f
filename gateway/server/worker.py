"""One worker: assembles ingresses, fan-out and delivery, opened in order and closed in reverse.

The path of a ping: `http_api` -> `queue.producer` -> `fanout.consumer` -> `fanout.planner` ->
`delivery.http2_lane` -> `transport` -> the provider's response -> `delivery.http2_lane` ->
`fanout.in_flight` -> settled in Redis.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, NamedTuple

import structlog

from gateway import __version__
from gateway.delivery.cancelled import CancelledPings
from gateway.delivery.dead_tokens import DeadTokens
from gateway.delivery.lane_manager import LaneManager
from gateway.delivery.ping_additions import addition_rules
from gateway.delivery.proofs import Proofs
from gateway.delivery.quota import Quota
from gateway.delivery.token_trust import TokenTrust
from gateway.delivery.unsaved import UnsavedVerdicts
from gateway.errors import BadSetting
from gateway.fanout.broadcast import BroadcastTasks
from gateway.fanout.broadcast_targets import BroadcastTargets
from gateway.fanout.consumer import QueueConsumer
from gateway.fanout.explain import PingExplainer
from gateway.fanout.in_flight import InFlight
from gateway.fanout.planner import Planner
from gateway.http_api import Dependencies, HttpApi, open_http_api
from gateway.http_api.dependencies import Scrape
from gateway.http_api.operator_stores import OperatorStores, operator_stores
from gateway.mailbox.store import MailboxStore
from gateway.metrics import APPEND, Metrics
from gateway.queue.broadcasts import BroadcastStore
from gateway.queue.canceller import PingCanceller
from gateway.queue.completion import CompletionWaiters
from gateway.queue.consumer import Streams
from gateway.queue.effects import EffectStore
from gateway.queue.outbox import EventPlan
from gateway.queue.ping_list import PingList
from gateway.queue.ping_queue import BacklogLimits
from gateway.queue.producer import QueueProducer
from gateway.queue.receipts import Receipts
from gateway.queue.schedule_producer import ScheduleProducer
from gateway.queue.scheduled_list import ScheduledPings
from gateway.registry.change_log import ChangeLog
from gateway.registry.examination import Examination
from gateway.registry.invalidation import InvalidationListener
from gateway.registry.registry import DeviceRegistry
from gateway.registry.snapshot_warmup import SnapshotWarmup
from gateway.registry.snapshots import SnapshotStore
from gateway.scheduling.scheduler import Scheduler
from gateway.server.cancelling import open_cancellation
from gateway.server.console import open_console
from gateway.server.everybody import EverybodyParts
from gateway.server.further_redis import open_further_healths
from gateway.server.ingress import BackgroundIngress, open_background_ingress
from gateway.server.ipc import SettingsUpdate
from gateway.server.maintenance import Maintenance, Stores
from gateway.server.operator_access import OperatorAccess, open_operator_access
from gateway.server.redis_checks import RedisChecks
from gateway.server.redis_links import open_redis_links
from gateway.server.rhoconnect_push import open_mailbox, open_rhoconnect_push
from gateway.server.runtime_metrics import runtime_metrics
from gateway.server.settings_feed import UpdateListener
from gateway.server.sync_effects import open_sync_effects
from gateway.server.tracing import open_tracer
from gateway.server.webhooks import open_webhooks
from gateway.server.worker_channels import WorkerContext
from gateway.server.worker_reports import open_worker_reports
from gateway.settings import Secret, Settings
from gateway.store.address import RedisAddress, main_address, queue_address, rhoconnect_push_address
from gateway.store.client_factory import HTTP_TIMEOUT_S, check_trust, client
from gateway.store.connection import RedisConnection, RedisReplyError
from gateway.store.health import redis_healths
from gateway.tracing import PingTracer
from gateway.webhooks.dispatcher import WebhookDispatcher

_log = structlog.get_logger("worker")

_LAST_WRITES_S: Final = 2.0
"""Time for the last verdicts, leases and effects after the drain; shorter than the supervisor's grace time."""

_RESERVED_CONNECTIONS: Final = 2
"""Connections reserved for look-ups of API tokens that were valid recently."""


async def run(context: WorkerContext) -> None:
    """Serve until `context.stop` is set, then finish the accepted work within `settings.drain_s`.

    The gateway's id and the slot form this worker's name among the queue's consumers.

    Raises:
        StoreDown: Redis cannot be reached at the start.
        StoreRefused: Redis refuses the connection.
        BadSetting: Redis does not provide the durability of `queue.durability`, refuses a command that every gateway
            needs, or a certificate authority cannot be read.
    """
    settings, slot, channels = context.settings, context.slot, context.channels
    check_trust(settings)
    metrics = Metrics(__version__)
    if channels is not None:
        channels.metrics_reporter.begin(metrics)
    async with AsyncExitStack() as closing:
        closing.enter_context(runtime_metrics(metrics))
        name = f"{context.gateway_id}:{slot}"
        tracer = await closing.enter_async_context(open_tracer(settings, name))
        pipeline = await closing.enter_async_context(
            _pipeline(settings, name, metrics, context.workers, tracer)
        )
        scrape = None if channels is None else channels.metrics_reporter.scrape
        access = await closing.enter_async_context(open_operator_access(settings, context.gateway_id, slot))
        services = _services(settings, pipeline, access, metrics, scrape, context.workers, tracer)
        for redis in (services.redis, services.reserved_redis):
            if redis is not None:
                closing.push_async_callback(redis.aclose)
        console = await closing.enter_async_context(
            open_console(services, pipeline.receipts.connection, f"{context.gateway_id}:{slot}")
        )
        http_api = await open_http_api(services, context.sock, console)
        await closing.enter_async_context(open_worker_reports(context, pipeline.lane_manager, services))
        rhoconnect_push = None
        if pipeline.mailbox is not None and context.rhoconnect_push_sock is not None:
            rhoconnect_push = await closing.enter_async_context(
                open_rhoconnect_push(
                    settings,
                    pipeline.mailbox,
                    context.rhoconnect_push_sock,
                    metrics,
                    services.bodies,
                    services.connections,
                    slot=slot,
                )
            )
        background_ingress = await closing.enter_async_context(
            open_background_ingress(settings, context.gateway_id, slot, pipeline.queue, metrics)
        )
        settings_applier = SettingsApplier(
            settings, http_api, pipeline, background_ingress, metrics, access.on_update
        )
        if channels is not None:
            channels.settings_feed.subscribe(settings_applier.on_update)
        context.ready()
        _log.info("worker_ready", slot=slot, gateway=context.gateway_id)
        await context.stop.wait()
        settings = settings_applier.settings
        until = time.monotonic() + settings.drain_s
        pipeline.consumer.stop_taking()
        _log.info("worker_draining", in_hand=pipeline.deliveries)
        ingresses = (background_ingress, http_api, rhoconnect_push)
        await asyncio.gather(*(one.close(settings.drain_s) for one in ingresses if one is not None))
        await pipeline.drain(until)
        _log.info("worker_drained", unfinished=pipeline.deliveries)


class Producers(NamedTuple):
    """The producers of the queue and of the schedule, and the canceller, which shares their connection."""

    queue: QueueProducer
    schedule: ScheduleProducer
    canceller: PingCanceller


class Inspection(NamedTuple):
    """The parts that answer questions about pings, devices, lanes and the queue."""

    explainer: PingExplainer
    operators: OperatorStores


class Outcomes(NamedTuple):
    """The ways in which callers and operators get the outcomes of pings."""

    receipts: Receipts
    completions: CompletionWaiters
    webhooks: WebhookDispatcher


class Pipeline:
    """The opened components between the ingresses and the providers."""

    def __init__(
        self,
        producers: Producers,
        outcomes: Outcomes,
        in_flight: InFlight,
        consumer: QueueConsumer,
        lane_manager: LaneManager,
        maintenance: Maintenance,
        mailbox: MailboxStore | None,
        inspection: Inspection,
    ) -> None:
        self.queue, self.schedule, self.canceller = producers
        self.receipts, self.completions, self.webhooks = outcomes
        self.in_flight = in_flight
        self.consumer = consumer
        self.lane_manager = lane_manager
        self.maintenance = maintenance
        self.mailbox = mailbox
        self.explainer, self.operators = inspection

    @property
    def deliveries(self) -> int:
        """Number of deliveries without a verdict."""
        return self.in_flight.deliveries(bulk=False) + self.in_flight.deliveries(bulk=True)

    async def drain(self, until_s: float) -> None:
        """Finish the accepted work, until this instant (`time.monotonic`). The ingresses are closed before.

        Afterwards, the parts have `_LAST_WRITES_S` to write the data that they still hold: it takes a connection up to
        ten seconds to find that Redis does not answer, and the supervisor kills a worker before.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, until_s - time.monotonic())):
                await self.schedule.close()
                await self.queue.close()
        await self.consumer.close(max(0.0, until_s - time.monotonic()))
        await self.in_flight.wait_empty(until_s - time.monotonic())
        await self.lane_manager.close(max(0.0, until_s - time.monotonic()))
        asyncio.get_running_loop().call_later(_LAST_WRITES_S, self.receipts.connection.abandon)


class SettingsApplier:
    """Applies reloaded settings in one step of the event loop.

    Args:
        settings: the current settings.
        http_api, pipeline, background_ingress: components to which the settings are applied.
        metrics: receive whether the file on disk is the one in force.
        audit: records the reload.
    """

    def __init__(
        self,
        settings: Settings,
        http_api: HttpApi,
        pipeline: Pipeline,
        background_ingress: BackgroundIngress,
        metrics: Metrics,
        audit: UpdateListener,
    ) -> None:
        self.settings = settings
        self._audit = audit
        self._http_api = http_api
        self._pipeline = pipeline
        self._background = background_ingress
        self._metrics = metrics

    def on_update(self, update: SettingsUpdate) -> None:
        """Apply new settings, or record that the file is invalid."""
        self._audit(update)
        self._metrics.settings_reload_failed.set(int(update.settings is None))
        if update.settings is None:
            return
        self.settings = update.settings
        self._http_api.apply_settings(update.settings)
        self._background.apply_settings(update.settings)
        self._pipeline.queue.limits = _limits(update.settings)
        self._pipeline.schedule.limits = _schedule_limits(update.settings)
        self._pipeline.lane_manager.apply_settings(update.settings)
        self._pipeline.webhooks.apply_settings(update.settings)
        self._pipeline.maintenance.apply_settings(update.settings)
        _log.info("settings_applied")


def _limits(settings: Settings) -> BacklogLimits:
    return BacklogLimits(settings.limits.queue_pings, settings.limits.queue_bytes)


def _schedule_limits(settings: Settings) -> BacklogLimits:
    return BacklogLimits(settings.limits.scheduled_pings, settings.limits.scheduled_bytes)


@asynccontextmanager
async def _pipeline(
    settings: Settings, name: str, metrics: Metrics, workers: int, tracer: PingTracer | None
) -> AsyncIterator[Pipeline]:
    main, queued = main_address(settings), queue_address(settings)
    checks = RedisChecks(settings, metrics)
    await checks.require()
    async with AsyncExitStack() as opened:
        appends, stream_link, look_ups, readers = await opened.enter_async_context(
            open_redis_links(main, queued, metrics)
        )
        streams = Streams(stream_link, name, settings.receipts.ttl_s, on_queue_lost=metrics.queue_losses.inc)
        await streams.read_clock()
        await _prepare(streams)
        scheduler = Scheduler()
        registry, invalidations = await _registry(opened, settings, look_ups, name, scheduler)
        receipts = Receipts(stream_link)
        completions = CompletionWaiters(queued, receipts)
        await completions.open()
        opened.push_async_callback(completions.close)

        dead = DeadTokens(registry, TokenTrust(Proofs(look_ups), metrics))
        opened.push_async_callback(dead.close)
        mailbox = await opened.enter_async_context(open_mailbox(settings))
        unsaved, cancelled = UnsavedVerdicts(metrics), CancelledPings(metrics)
        lane_manager = LaneManager(
            settings, metrics, dead, mailbox, Quota(stream_link), scheduler, unsaved, cancelled=cancelled
        )
        effects = EffectStore(stream_link, settings.receipts.ttl_s, name)
        sync_effects = open_sync_effects(effects, look_ups, metrics, invalidations, lane_manager)
        await opened.enter_async_context(sync_effects)
        lane_manager.log_unusable()
        webhooks, events = await opened.enter_async_context(
            open_webhooks(settings, stream_link, name, lane_manager, metrics, tracer)
        )
        in_flight = InFlight(streams, scheduler, completions, metrics, unsaved, events, cancelled)
        broadcasts = BroadcastStore(stream_link, settings.receipts.ttl_s)
        targets = BroadcastTargets(broadcasts, registry, lane_manager, scheduler)
        planner = Planner(
            registry, targets, lane_manager, streams, in_flight, metrics, scheduler, cancelled, tracer
        )
        everybody = EverybodyParts(stream_link, look_ups, settings.receipts.ttl_s, metrics)
        broadcast_tasks = BroadcastTasks(everybody.splitter(targets, in_flight, cancelled), in_flight)
        consumer = QueueConsumer(streams, readers, planner, broadcast_tasks, in_flight, siblings=workers > 1)
        further = await opened.enter_async_context(open_further_healths(settings))
        stores = Stores(redis_healths(main, look_ups, queued, stream_link), further)
        maintenance = Maintenance(
            settings, streams, lane_manager, metrics, stores, checks, lambda: consumer.refused
        )
        producers = _producers(settings, appends, consumer, metrics, scheduler, receipts, events, cancelled)
        await opened.enter_async_context(open_cancellation(stream_link, cancelled, unsaved, lane_manager))
        _start(opened, in_flight, consumer, maintenance)
        examination = Examination(registry, look_ups)
        explainer = everybody.explainer(targets, examination)
        yield Pipeline(
            producers,
            Outcomes(receipts, completions, webhooks),
            in_flight,
            consumer,
            lane_manager,
            maintenance,
            mailbox,
            Inspection(explainer, operator_stores(stream_link, look_ups, examination, lane_manager)),
        )


async def _registry(
    opened: AsyncExitStack, settings: Settings, look_ups: RedisConnection, name: str, scheduler: Scheduler
) -> tuple[DeviceRegistry, InvalidationListener]:
    """Open the registry with its cache, snapshots and invalidation."""
    change_log = ChangeLog()
    snapshots = SnapshotStore(look_ups, change_log, wanted=settings.registry.snapshots)
    registry = DeviceRegistry(look_ups, snapshots=snapshots, scheduler=scheduler)
    warmup = SnapshotWarmup(look_ups, registry)
    opened.push_async_callback(warmup.close)
    on_lapse = warmup.begin if settings.registry.snapshots else lambda: None
    invalidations = InvalidationListener(main_address(settings), registry, change_log, name, on_lapse)
    await invalidations.open()
    opened.push_async_callback(invalidations.close)
    return registry, invalidations


def _producers(
    settings: Settings,
    appends: RedisConnection,
    consumer: QueueConsumer,
    metrics: Metrics,
    scheduler: Scheduler,
    receipts: Receipts,
    events: EventPlan,
    cancelled: CancelledPings,
) -> Producers:
    """Create the producers of the queue and of the schedule."""
    replicas = int(settings.queue.durability == "replicas")
    queue = QueueProducer(
        appends, _limits(settings), replicas=replicas, local_consumer=consumer, scheduler=scheduler
    )
    scheduled = ScheduleProducer(appends, _schedule_limits(settings), queue, replicas=replicas)
    queue.seconds = scheduled.seconds = metrics.stage_seconds(APPEND, "")
    receipt_s = settings.receipts.ttl_s
    canceller = PingCanceller(appends, receipts, receipt_s, events, replicas=replicas, count=cancelled.count)
    return Producers(queue, scheduled, canceller)


def _start(opened: AsyncExitStack, *parts: InFlight | QueueConsumer | Maintenance) -> None:
    """Start parts that end, in the reverse order, before the connections that they use."""
    for part in parts:
        part.start()
        opened.push_async_callback(part.close)


async def _prepare(streams: Streams) -> None:
    """Create missing consumer groups. If Redis does not accept writes, the consumer creates them later.

    A full Redis does not even report whether the groups exist. In most cases they do, and only a worker that starts
    settles queued entries and so frees memory.
    """
    try:
        await streams.prepare()
    except RedisReplyError as error:
        if not error.for_now:
            raise
        _log.warning("consumer_groups_not_created", error=error.message)


def _services(
    settings: Settings,
    pipeline: Pipeline,
    access: OperatorAccess,
    metrics: Metrics,
    scrape: Scrape | None,
    workers: int,
    tracer: PingTracer | None,
) -> Dependencies:
    if settings.api_token is None:
        raise BadSetting("api_token: no API token is configured or generated", field="api_token")
    main = main_address(settings)
    return Dependencies(
        settings=settings,
        api_token=Secret(settings.api_token.reveal()),
        owns_store=_own(main, settings),
        queue=pipeline.queue,
        receipts=pipeline.receipts,
        acknowledgements=EffectStore(pipeline.receipts.connection, settings.receipts.ttl_s, ""),
        ping_list=PingList(pipeline.receipts.connection, (ScheduledPings(pipeline.receipts.connection),)),
        canceller=pipeline.canceller,
        operators=pipeline.operators,
        completions=pipeline.completions,
        redis=client(main, timeout_s=HTTP_TIMEOUT_S),
        reserved_redis=client(main, timeout_s=HTTP_TIMEOUT_S, connections_max=_RESERVED_CONNECTIONS),
        named_tokens=access.named_tokens,
        audit_log=access.audit_log,
        readiness=pipeline.maintenance.readiness,
        metrics=metrics,
        explanations=pipeline.explainer,
        webhooks=pipeline.webhooks,
        tracer=tracer,
        mailbox=pipeline.mailbox if rhoconnect_push_address(settings) != main else None,
        scrape=scrape,
        workers=workers,
        scheduler=pipeline.in_flight.scheduler,
        addition_rules=addition_rules(),
    )


def _own(main: RedisAddress, settings: Settings) -> bool:
    """Return whether the store is the embedded one: its socket is in the gateway's data folder."""
    if main.unix_path is None:
        return False
    return os.path.commonpath([main.unix_path, settings.data_dir.resolve()]) == str(
        settings.data_dir.resolve()
    )
