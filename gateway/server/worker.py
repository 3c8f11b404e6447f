"""One worker: doors, fan-out and delivery put together, opened in order and closed in the reverse.

The way of a ping through it: `doors` -> `queue.producer` -> `fanout.consumer` -> `fanout.planner` ->
`delivery.http2_lane` -> `transport` -> the provider's answer -> `delivery.http2_lane` ->
`fanout.in_flight` -> settled in Redis.
"""

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import structlog

from gateway import __version__
from gateway.delivery.dead_tokens import DeadTokens
from gateway.delivery.lane_manager import Lanes
from gateway.delivery.proofs import Proofs
from gateway.delivery.quota import Quota
from gateway.delivery.token_trust import Gate
from gateway.errors import BadSetting
from gateway.fanout.broadcast import Cutter, Cutting
from gateway.fanout.broadcast_targets import Audience
from gateway.fanout.consumer import Intake, Readers
from gateway.fanout.in_flight import Ledger
from gateway.fanout.planner import Planner
from gateway.http_api import Doors, Services, open_doors
from gateway.http_api.dependencies import Scrape
from gateway.mailbox.store import RpsStore
from gateway.metrics import Metrics
from gateway.queue.broadcasts import BroadcastStore
from gateway.queue.completion import Waiters
from gateway.queue.consumer import Streams
from gateway.queue.producer import Limits, Queue
from gateway.queue.receipts import Receipts
from gateway.registry.change_log import Journal
from gateway.registry.invalidation import Invalidations
from gateway.registry.registry import Registry
from gateway.registry.snapshot_warmup import Refill
from gateway.registry.snapshots import Snapshots
from gateway.scheduling.scheduler import Turns
from gateway.server.ingress import Background, background
from gateway.server.ipc import News
from gateway.server.maintenance import Upkeep
from gateway.server.redis_permissions import Permissions
from gateway.server.rhoconnect_push import legacy_service, rps_store
from gateway.server.worker_channels import Supervision
from gateway.settings import Secret, Settings
from gateway.store.address import Address, main_address, queue_address, rps_address
from gateway.store.client_factory import DOOR_TIMEOUT_S, check_trust, client
from gateway.store.connection import Link, ReplyFault
from gateway.store.durability import check_durability
from gateway.store.health import healths

_log = structlog.get_logger("worker")

_OPEN_S: Final = 15.0
_RESERVED_CONNECTIONS: Final = 2
"""For API tokens that were valid lately."""
_APPEND_REPLY_S: Final = 2.0
"""An append without a reply for so long is asked about by its marker; every other command may take longer."""


async def run(
    settings: Settings,
    *,
    slot: int,
    gateway_id: str,
    sock: socket.socket,
    stop: asyncio.Event,
    ready: Callable[[], None],
    rps_sock: socket.socket | None = None,
    workers: int = 1,
    supervision: Supervision | None = None,
) -> None:
    """Work until `stop` is set, then finish what was begun within `settings.drain_s`.

    Args:
        settings: those in force.
        slot: this worker's number; with the gateway's id, its name among the queue's consumers.
        gateway_id: the same after a restart.
        sock: the bound listening socket.
        stop: set to drain.
        ready: called when every door is open.
        rps_sock: the bound listening socket of the legacy push service; None: this gateway has none.
        workers: how many processes share what is limited a gateway.
        supervision: where changed settings come from, and where metrics go; None: this process is alone.

    Raises:
        StoreDown: Redis cannot be reached at the start.
        StoreRefused: it refuses the connection.
        BadSetting: Redis does not promise what `queue.durability` demands, or refuses what every gateway needs, or
            whom to trust cannot be read.
    """
    check_trust(settings)
    metrics = Metrics(__version__)
    if supervision is not None:
        supervision.reporting.begin(metrics)
    async with AsyncExitStack() as closing:
        spine = await closing.enter_async_context(_spine(settings, f"{gateway_id}:{slot}", metrics, workers))
        scrape = None if supervision is None else supervision.reporting.scrape
        services = _services(settings, spine, metrics, scrape, workers)
        for redis in (services.redis, services.reserved_redis):
            if redis is not None:
                closing.push_async_callback(redis.aclose)
        doors = await open_doors(services, sock)
        legacy = None
        if spine.rps is not None and rps_sock is not None:
            legacy = await closing.enter_async_context(
                legacy_service(
                    settings, spine.rps, rps_sock, metrics, services.bodies, services.connections, slot=slot
                )
            )
        unasked = await closing.enter_async_context(
            background(settings, gateway_id, slot, spine.queue, metrics)
        )
        renewing = Renewing(settings, doors, spine, unasked, metrics)
        if supervision is not None:
            supervision.news.listen(renewing.hear)
        ready()
        _log.info("ready", slot=slot, gateway=gateway_id)
        await stop.wait()
        settings = renewing.settings
        until = time.monotonic() + settings.drain_s
        spine.intake.take_no_more()
        await unasked.close()
        _log.info("draining", in_hand=spine.ledger.sends(bulk=False) + spine.ledger.sends(bulk=True))
        await asyncio.gather(*(door.close(settings.drain_s) for door in (doors, legacy) if door is not None))
        await spine.queue.close()
        await spine.intake.close(max(0.0, until - time.monotonic()))
        await spine.ledger.emptied(until - time.monotonic())
        await spine.lanes.close(max(0.0, until - time.monotonic()))
        _log.info("drained", unfinished=spine.ledger.sends(bulk=False) + spine.ledger.sends(bulk=True))


class Spine:
    """What stands between the doors and the providers, opened."""

    def __init__(
        self,
        queue: Queue,
        receipts: Receipts,
        waiters: Waiters,
        ledger: Ledger,
        intake: Intake,
        lanes: Lanes,
        upkeep: Upkeep,
        rps: RpsStore | None,
    ) -> None:
        self.queue = queue
        self.receipts = receipts
        self.waiters = waiters
        self.ledger = ledger
        self.intake = intake
        self.lanes = lanes
        self.upkeep = upkeep
        self.rps = rps


class Renewing:
    """Takes over settings that were read anew: one step, between two turns of the loop.

    Args:
        settings: those in force.
        doors, spine, unasked: who obeys them.
        metrics: tells whether the file on disk is the one in force.
    """

    def __init__(
        self, settings: Settings, doors: Doors, spine: Spine, unasked: Background, metrics: Metrics
    ) -> None:
        self.settings = settings
        self._doors = doors
        self._spine = spine
        self._unasked = unasked
        self._metrics = metrics

    def hear(self, news: News) -> None:
        """Take over new settings, or raise the alarm that the file is wrong."""
        self._metrics.settings_refused.set(int(news.settings is None))
        if news.settings is None:
            return
        self.settings = news.settings
        self._doors.renew(news.settings)
        self._unasked.renew(news.settings)
        self._spine.queue.limits = _limits(news.settings)
        self._spine.lanes.renew(news.settings)
        self._spine.upkeep.renew(news.settings)
        _log.info("settings_taken_over")


def _limits(settings: Settings) -> Limits:
    return Limits(settings.limits.queue_pings, settings.limits.queue_bytes)


@asynccontextmanager
async def _spine(settings: Settings, name: str, metrics: Metrics, workers: int) -> AsyncIterator[Spine]:
    main, queued = main_address(settings), queue_address(settings)
    await _check(settings, queued)
    permissions = Permissions(settings)
    await permissions.require()
    async with AsyncExitStack() as opened:

        async def link(address: Address, purpose: str, reply_s: float = 5.0) -> Link:
            made = Link(address, purpose, reply_s=reply_s)
            await made.open(_OPEN_S)
            opened.push_async_callback(made.close)
            return made

        appends = await link(queued, "append", _APPEND_REPLY_S)
        stream_link = await link(queued, "streams")
        look_ups = await link(main, "registry")
        readers = Readers(*[await link(queued, f"read:{what}") for what in ("small", "pieces", "broadcasts")])

        streams = Streams(stream_link, name, settings.receipts.ttl_s)
        await streams.read_clock()
        await _prepare(streams)
        turns = Turns()
        journal = Journal()
        snapshots = Snapshots(look_ups, journal, wanted=settings.registry.snapshots)
        registry = Registry(look_ups, snapshots=snapshots, turns=turns)
        refill = Refill(look_ups, registry)
        opened.push_async_callback(refill.close)
        lapsed = refill.begin if settings.registry.snapshots else lambda: None
        invalidations = Invalidations(main, registry, journal, name, lapsed)
        await invalidations.open()
        opened.push_async_callback(invalidations.close)

        receipts = Receipts(stream_link)
        waiters = Waiters(queued, receipts)
        await waiters.open()
        opened.push_async_callback(waiters.close)

        dead = DeadTokens(registry, Gate(Proofs(look_ups), metrics))
        opened.push_async_callback(dead.close)
        rps = await opened.enter_async_context(rps_store(settings))
        lanes = Lanes(settings, metrics, dead, rps, Quota(stream_link), turns)
        lanes.tell_unusable()
        ledger = Ledger(streams, turns, waiters, metrics)
        broadcasts = BroadcastStore(stream_link, settings.receipts.ttl_s)
        audience = Audience(broadcasts, registry, lanes, turns)
        planner = Planner(registry, audience, lanes, streams, ledger, metrics, turns)
        cutting = Cutting(Cutter(broadcasts, ledger), ledger)
        intake = Intake(streams, readers, planner, cutting, ledger, siblings=workers > 1)
        stores = healths(main, look_ups, queued, stream_link)
        upkeep = Upkeep(settings, streams, lanes, metrics, stores, permissions, lambda: intake.refused)
        replicas = int(settings.queue.durability == "replicas")
        queue = Queue(appends, _limits(settings), replicas=replicas, taker=intake, turns=turns)
        for part in (ledger, intake, upkeep):
            part.start()
            opened.push_async_callback(part.close)
        yield Spine(queue, receipts, waiters, ledger, intake, lanes, upkeep, rps)


async def _prepare(streams: Streams) -> None:
    """Make the consumer groups that are missing, or leave that to whoever reads when Redis takes writes again.

    A full Redis does not even say whether they are there. They mostly are, and only a worker that starts
    settles what is queued and so makes room.
    """
    try:
        await streams.prepare()
    except ReplyFault as error:
        if not error.for_now:
            raise
        _log.warning("groups_not_made", error=error.message)


async def _check(settings: Settings, queued: Address) -> None:
    redis = client(queued)
    try:
        warnings = await check_durability(redis, settings.queue.durability)
    finally:
        await redis.aclose()
    for warning in warnings:
        _log.warning("durability", text=warning)


def _services(
    settings: Settings, spine: Spine, metrics: Metrics, scrape: Scrape | None, workers: int
) -> Services:
    if settings.api_token is None:
        raise BadSetting("api_token: none was set or made", field="api_token")
    main = main_address(settings)
    return Services(
        settings=settings,
        api_token=Secret(settings.api_token.reveal()),
        owns_store=_own(main, settings),
        queue=spine.queue,
        receipts=spine.receipts,
        waiters=spine.waiters,
        redis=client(main, timeout_s=DOOR_TIMEOUT_S),
        reserved_redis=client(main, timeout_s=DOOR_TIMEOUT_S, connections_max=_RESERVED_CONNECTIONS),
        readiness=spine.upkeep.readiness,
        metrics=metrics,
        mailbox=spine.rps if rps_address(settings) != main else None,
        scrape=scrape,
        workers=workers,
        turns=spine.ledger.turns,
    )


def _own(main: Address, settings: Settings) -> bool:
    """Whether the store is the embedded one: its socket lies in our own data folder."""
    if main.unix_path is None:
        return False
    return os.path.commonpath([main.unix_path, settings.data_dir.resolve()]) == str(
        settings.data_dir.resolve()
    )
