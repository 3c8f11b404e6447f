"""What the doors need of the rest of the gateway, handed in by whoever composes it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from redis.asyncio import Redis

from gateway.clock import SHARED_CLOCK
from gateway.limits.body_budget import BodyBudget
from gateway.limits.connection_limits import ConnectionLimits
from gateway.metrics import Metrics
from gateway.queue.completion import Completion
from gateway.queue.schedule_producer import IngressQueue
from gateway.registry.clients import TokenMailbox
from gateway.scheduling.scheduler import Scheduler
from gateway.settings import Secret, Settings

Scrape = Callable[[], Awaitable[bytes]]
"""Gives what Prometheus reads. Raises MetricsUnavailable."""


class ReceiptReader(Protocol):
    """Tells what became of pings (`gateway.queue.receipts.Receipts`)."""

    async def report(self, ping_id: str) -> dict[str, Any] | None:
        """Counts and devices' verdicts; None: no such ping is known."""


class CompletionSource(Protocol):
    """Tells a waiting door that a ping is finished, whichever process delivered it."""

    @property
    def channel(self) -> str:
        """What goes into `Ping.reply_to`."""

    def waiting_for(self, ping_id: str) -> AbstractContextManager[Completion]:
        """Around append and wait: the end of this ping is listened for from the start."""

    async def outcome(
        self, ping_id: str, timeout_s: float, pending: Completion | None = None
    ) -> dict[str, Any] | None:
        """The ping's report once it is finished; None: not within `timeout_s`. `pending`: of `waiting_for`."""

    def end_waits(self) -> None:
        """End every wait now."""


@dataclass(kw_only=True)
class HttpTimeouts:
    """How long a caller may take, in seconds.

    Attributes:
        head_s: for a request's head, from its first byte.
        body_s: for the body of a caller with a valid API token, apart from its length.
        body_bytes_per_s: the slowest body that is waited for, beyond `body_s`: what came so far counts.
        unauthenticated_body_s: for the body of every other caller.
        idle_s: between two requests. Longer than the keep-alive of common reverse proxies (nginx: 60 s), so
        that
            they close first and never meet a connection that closes under their request.
        read_s: for reading the answers that it asked for, before the connection is dropped.
        stream_s: of a request that is answered while its body comes, without progress in either direction.
        tick_s: how often all that is looked at.
    """

    head_s: float = 10.0
    body_s: float = 30.0
    body_bytes_per_s: float = 65_536.0
    unauthenticated_body_s: float = 10.0
    idle_s: float = 75.0
    read_s: float = 30.0
    stream_s: float = 30.0
    tick_s: float = 1.0

    def body_patience_s(self, came: int, *, authenticated: bool) -> float:
        """How long a body may take of which `came` bytes are there; `authenticated`: the caller's token is valid."""
        return self.body_s + came / self.body_bytes_per_s if authenticated else self.unauthenticated_body_s


@dataclass(kw_only=True)
class Dependencies:
    """Everything behind the doors.

    Attributes:
        settings: those in force; `Doors.apply_settings` swaps them.
        api_token: the configured API token, from the settings or `data_dir/api_token`.
        owns_store: the gateway's own embedded store: no RhoConnect reads it.
        queue, receipts, completions: see the protocols above.
        redis: a client of RhoConnect's Redis, or of the embedded one, without hidden retries.
        reserved_redis: another client of it, for API tokens that were valid lately; None: `redis`.
        readiness: what keeps this gateway from working, by part; empty: ready.
        metrics: counts what the doors accept and refuse.
        scrape: gives the rendered metrics of the whole gateway; None: those of `metrics` are all.
        mailbox: RhoConnect Push registrations in another Redis than `redis`; None: there are none.
        workers: how many processes share the configured rate limit.
        now: epoch seconds by the clock that all gateways share.
        fast_path: off: aiohttp answers everything (for tests and comparison).
        timeouts: how long callers may take.
        scheduler: between which a long list of users is read.
        bodies: the bytes of request bodies that this process holds.
        connections: how many HTTP connections this process may have.
        parsing_lock: held while a long body is parsed: what it becomes takes several times its size.
    """

    settings: Settings
    api_token: Secret
    owns_store: bool
    queue: IngressQueue
    receipts: ReceiptReader
    completions: CompletionSource
    redis: Redis
    readiness: Callable[[], Awaitable[Mapping[str, str]]]
    metrics: Metrics
    mailbox: TokenMailbox | None = None
    reserved_redis: Redis | None = None
    scrape: Scrape | None = None
    workers: int = 1
    now: Callable[[], float] = SHARED_CLOCK.now_s
    fast_path: bool = True
    timeouts: HttpTimeouts = field(default_factory=HttpTimeouts)
    scheduler: Scheduler = field(default_factory=Scheduler)
    bodies: BodyBudget = field(default_factory=lambda: BodyBudget(0))
    connections: ConnectionLimits = field(default_factory=ConnectionLimits)
    parsing_lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        """Take the limits from the settings."""
        self.apply_settings(self.settings)

    def apply_settings(self, settings: Settings) -> None:
        """Take over new settings."""
        self.settings = settings
        self.bodies.limit = settings.limits.bodies_bytes
        self.connections.setting = settings.limits.connections
