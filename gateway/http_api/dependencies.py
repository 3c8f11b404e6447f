"""The services that the HTTP API needs from the rest of the gateway, passed in by `gateway.server.worker`."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from redis.asyncio import Redis

from gateway.clock import SHARED_CLOCK
from gateway.http_api.operator_stores import OperatorStores
from gateway.limits.body_budget import BodyBudget
from gateway.limits.connection_limits import ConnectionLimits
from gateway.metrics import Metrics
from gateway.queue.completion import Completion
from gateway.queue.ping_queue import PingQueue
from gateway.queue.schedule_producer import IngressQueue
from gateway.registry.audit_log import AuditLog
from gateway.registry.clients import TokenMailbox
from gateway.registry.named_tokens import NamedTokens
from gateway.scheduling.scheduler import Scheduler
from gateway.settings import Secret, Settings
from gateway.tracing import PingTracer
from protocols.ping.model import Ping
from protocols.ping.overrides import AdditionRules

Scrape = Callable[[], Awaitable[bytes]]
"""Returns the rendered metrics. Raises MetricsUnavailable."""


class Readiness(NamedTuple):
    """The parts of a gateway that do not work, and the reason of each.

    Attributes:
        missing: without them, pings cannot be accepted, or none can be delivered.
        degraded: without them, some pings cannot be delivered.
    """

    missing: Mapping[str, str]
    degraded: Mapping[str, str]


class ReceiptReader(Protocol):
    """Reads the receipts of pings (`gateway.queue.receipts.Receipts`)."""

    async def report(self, ping_id: str) -> dict[str, Any] | None:
        """Return counts and the verdicts of devices; None: the ping is not known."""

    async def waiting_apps(self, ping_id: str) -> tuple[str, ...] | None:
        """Return the limit to apps of a ping without a verdict; None: it has none, or is not found."""


class AcknowledgementStore(Protocol):
    """Records acknowledgements in receipts (`gateway.queue.effects.EffectStore`)."""

    async def acknowledge(self, ping_id: str, client_id: str, *, known: bool = False) -> bool | None:
        """Return whether an acknowledgement was recorded, and not before; None: there is no such receipt.

        Args:
            ping_id: 32 hex digits.
            client_id: the device.
            known: whether the ping exists although it may have no receipt yet.
        """


class PingLister(Protocol):
    """Lists pings (`gateway.queue.ping_list.PingList`)."""

    async def page(
        self,
        state: str | None = None,
        limit: object = None,
        cursor: str | None = None,
        apps: frozenset[str] | None = None,
    ) -> dict[str, Any]:
        """One page, the newest ping first; `apps`: only pings that were limited to these apps. Raises InvalidField."""


class PingCancellations(Protocol):
    """Cancels pings (`gateway.queue.canceller.PingCanceller`)."""

    async def cancel(self, ping_id: str) -> str:
        """Cancel a ping durably, and return its state. Raises NotFound, PingFinished, StoreDown."""


class CompletionSource(Protocol):
    """Notifies a waiting request that its ping is finished, whichever process delivered it."""

    @property
    def channel(self) -> str:
        """The channel for `Ping.reply_to`."""

    def waiting_for(self, ping_id: str) -> AbstractContextManager[Completion]:
        """Subscribe to the completion of a ping; the context covers the append and the wait."""

    async def outcome(
        self, ping_id: str, timeout_s: float, pending: Completion | None = None
    ) -> dict[str, Any] | None:
        """Return the ping's report once it is finished; None after `timeout_s`. `pending`: from `waiting_for`."""

    def end_waits(self) -> None:
        """End all waits now."""


class PingExplanations(Protocol):
    """Explains pings instead of sending them (`gateway.fanout.explain`)."""

    async def explain(self, ping: Ping, *, validates: bool) -> dict[str, Any]:
        """The devices that a ping would reach, and those that it would not.

        Raises:
            BodyTooLarge: it is for too many.
            StoreDown: Redis did not answer.
        """


class WebhookOperations(Protocol):
    """Operations on the endpoints of webhooks (`gateway.webhooks.dispatcher.WebhookDispatcher`)."""

    async def listing(self) -> list[dict[str, Any]]:
        """The endpoints with their states, without secrets."""

    async def replay(self, name: str, since_ms: int) -> dict[str, Any]:
        """Deliver the events since an instant again. Raises NotFound."""

    async def test(self, name: str) -> dict[str, Any]:
        """Send a test message, and return its result. Raises NotFound."""

    async def of_ping(self, ping_id: str) -> list[dict[str, Any]]:
        """The messages with events of a ping, and how far each endpoint has received them."""


@dataclass(kw_only=True)
class HttpTimeouts:
    """Time limits of callers, in seconds.

    Attributes:
        head_s: a request's head, from its first byte.
        body_s: the body of a caller with a valid API token, regardless of its length.
        body_bytes_per_s: slowest accepted rate of a body: the bytes received so far extend `body_s`.
        unauthenticated_body_s: the body of any other caller.
        idle_s: between two requests. Longer than the keep-alive of common reverse proxies (nginx: 60 s), so that they
            close first and never send a request on a connection that closes.
        read_s: for reading the requested responses, before the connection is dropped.
        stream_s: longest time without progress in either direction, of a request that is answered while its body
            arrives.
        tick_s: interval of the checks.
    """

    head_s: float = 10.0
    body_s: float = 30.0
    body_bytes_per_s: float = 65_536.0
    unauthenticated_body_s: float = 10.0
    idle_s: float = 75.0
    read_s: float = 30.0
    stream_s: float = 30.0
    tick_s: float = 1.0

    def body_patience_s(self, received: int, *, authenticated: bool) -> float:
        """Return the time limit of a body of which `received` bytes arrived; `authenticated`: the caller's token is
        valid."""
        return (
            self.body_s + received / self.body_bytes_per_s if authenticated else self.unauthenticated_body_s
        )


@dataclass(kw_only=True)
class Dependencies:
    """All services behind the HTTP API.

    Attributes:
        settings: the current settings, replaced by `HttpApi.apply_settings`.
        api_token: the configured API token, from the settings or `data_dir/api_token`.
        owns_store: whether the store is the gateway's embedded store, which no RhoConnect reads.
        queue, receipts, ping_list, completions: see the protocols above.
        redis: a client of RhoConnect's Redis, or of the embedded store, without hidden retries.
        reserved_redis: another client of it, for API tokens that were valid recently; None: `redis`.
        readiness: returns the parts of this gateway that do not work.
        metrics: counts accepted and refused requests.
        named_tokens: the named API tokens; None: there are none.
        audit_log: records the actions of operators; None: nothing is recorded.
        scrape: returns the rendered metrics of the whole gateway; None: those of `metrics` are complete.
        operators: the stores of the routes of operators; None: this process has none.
        acknowledgements: records acknowledgements; None: this process has no receipts.
        tracer: decides which pings have a trace; None: none has.
        explanations: explains pings; None: this process cannot explain pings.
        webhooks: operations on the endpoints of webhooks; None: this process has none.
        canceller: cancels pings; None: this process cannot cancel pings.
        mailbox: RhoConnect Push registrations in another Redis than `redis`; None: there are none.
        workers: number of processes that share the configured rate limit.
        now: epoch seconds by the clock that all gateways share.
        fast_path: False: aiohttp answers every request (for tests and comparison).
        timeouts: time limits of callers.
        scheduler: shares the loop with the steps of a long list of users.
        bodies: the memory budget of request bodies in this process.
        connections: the limits of HTTP connections of this process.
        addition_rules: the rules of the parameters of a ping that providers of other packages add.
        parsing_lock: held while a long body is parsed: the parsed form takes several times its size.
    """

    settings: Settings
    api_token: Secret
    owns_store: bool
    queue: IngressQueue
    receipts: ReceiptReader
    ping_list: PingLister
    completions: CompletionSource
    redis: Redis
    readiness: Callable[[], Awaitable[Readiness]]
    metrics: Metrics
    operators: OperatorStores | None = None
    acknowledgements: AcknowledgementStore | None = None
    explanations: PingExplanations | None = None
    webhooks: WebhookOperations | None = None
    canceller: PingCancellations | None = None
    tracer: PingTracer | None = None
    mailbox: TokenMailbox | None = None
    reserved_redis: Redis | None = None
    named_tokens: NamedTokens | None = None
    audit_log: AuditLog | None = None
    scrape: Scrape | None = None
    workers: int = 1
    now: Callable[[], float] = SHARED_CLOCK.now_s
    fast_path: bool = True
    timeouts: HttpTimeouts = field(default_factory=HttpTimeouts)
    scheduler: Scheduler = field(default_factory=Scheduler)
    bodies: BodyBudget = field(default_factory=lambda: BodyBudget(0))
    connections: ConnectionLimits = field(default_factory=ConnectionLimits)
    addition_rules: AdditionRules = field(default_factory=dict)
    parsing_lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        """Apply the limits of the settings."""
        self.apply_settings(self.settings)

    def queue_of(self, queue: PingQueue, traceparent: str | None) -> PingQueue:
        """Return the queue for a ping whose request has this header: `queue`, or one that begins a trace."""
        return queue if self.tracer is None else self.tracer.queue_of(queue, traceparent)

    def apply_settings(self, settings: Settings) -> None:
        """Apply new settings."""
        self.settings = settings
        self.bodies.limit = settings.limits.bodies_bytes
        self.connections.setting = settings.limits.connections
