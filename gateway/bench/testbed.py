"""A gateway with all its surroundings, started for one scenario and stopped after it."""

import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Final, NamedTuple, Self

import yaml

from gateway.bench.child import Child, Progress
from gateway.bench.errors import CannotMeasure
from gateway.bench.gateway import Gateway
from gateway.bench.population import lay_users
from gateway.bench.roles.load import STRIDE, LoadOrder, LoadResult
from gateway.bench.roles.provider import ProviderCounts, ProviderFacts, ProviderOrder
from gateway.bench.scratch import scratch
from gateway.bench.store import Counters, Store
from gateway.bench.usage import PeakMemory, cpu_s
from gateway.bench.wire import ping_template

PARTS: Final = ("gateway", "redis", "provider", "load")
"""Parts whose CPU is measured separately."""
PROBE_CONNECTIONS: Final = 32
"""Connections of the generator of waited pings."""
REFILL_S: Final = 60.0
REFILL_RATE: Final = 1_000.0
"""Lowest plausible rate, in users a second, of making snapshots."""
LIMIT_FACTOR: Final = 2.0
"""A provider whose capacity is below this multiple of the gateway's rate is reported as the limit."""


class Window:
    """Measurements of a period; filled when the context is left.

    Attributes:
        seconds: wall clock.
        cpu: seconds of user and system time, by part: gateway, redis, provider, load.
        redis: counters of its server.
        memory: memory of the gateway's processes.
        delivered: requests that the provider answered.
    """

    def __init__(self, memory: PeakMemory) -> None:
        self.memory = memory
        self.seconds = 0.0
        self.cpu: dict[str, float] = {}
        self.redis = Counters(0.0, 0, 0, 0, 0)
        self.delivered = 0

    def cpu_us(self, part: str, count: int) -> float:
        """Microseconds of a part's CPU for each of `count` items."""
        return self.cpu[part] / count * 1e6

    def limit_note(self) -> str | None:
        """The note that the provider was the limit, if so."""
        return limit_note(self.cpu["provider"], self.delivered, self.seconds)


class Refilled(NamedTuple):
    """The cost of making the snapshots of all users: wall clock, and CPU of the gateway since its start and of
    Redis."""

    seconds: float
    gateway_s: float
    redis_s: float


class EnvironmentOptions(NamedTuple):
    """Options of a stand.

    Attributes:
        users: registered users, one device each.
        workers: number of the gateway's workers.
        redis: address of a given Redis; None: embedded.
        connections: connections of the load generator.
        environ: further environment variables of the gateway.
    """

    users: int
    workers: int = 1
    redis: str | None = None
    connections: int = 64
    environ: Mapping[str, str] = MappingProxyType({})


class Probe(NamedTuple):
    """Small pings whose callers wait for the verdict, in an open loop.

    Attributes:
        pings: number of pings.
        rate: pings due a second.
    """

    pings: int
    rate: float


class BenchEnvironment:
    """Provider, store with registered users, gateway, load generator: each in processes of its own.

    Args:
        plan: the options.
        on_progress: called with the fraction that is set up, from 0 to 1.
    """

    def __init__(self, plan: EnvironmentOptions, on_progress: Progress | None = None) -> None:
        self.plan = plan
        self._on_progress = on_progress
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            self.folder = opening.enter_context(scratch())
            self.provider = opening.enter_context(Child("provider", self.folder))
            self.facts = self.provider.request(ProviderOrder(str(self.folder / "outfit")), ProviderFacts)
            (self.folder / "data").mkdir(mode=0o700)
            self.store = opening.enter_context(Store(self.folder / "data", self.plan.redis))
            lay_users(self.store.client, self.plan.users, self._on_progress)
            self.gateway = opening.enter_context(
                Gateway(
                    self.facts.settings,
                    self.folder,
                    self.plan.redis,
                    self.plan.workers,
                    self.plan.environ,
                )
            )
            self.store.needs += (self.provider.check, self.gateway.check)
            self.refill = self._refilled()
            self.store.rewritten()
            self._load = opening.enter_context(Child("load", self.folder))
            self._probe = opening.enter_context(Child("load", self.folder))
            self._open = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)  # the store converts errors of Redis

    def _refilled(self) -> Refilled:
        """Wait until the gateway has made its snapshots of all users, as it does after each start."""
        begun, before = time.perf_counter(), self.store.counters().cpu_s
        while (counters := self.store.counters()).keys - counters.lasting < self.plan.users:
            if time.perf_counter() - begun > REFILL_S + self.plan.users / REFILL_RATE:
                raise CannotMeasure("the registry's snapshots were not made")
            time.sleep(0.1)
        seconds = time.perf_counter() - begun
        return Refilled(seconds, cpu_s(self.gateway.pids), counters.cpu_s - before)

    def end_receipts(self) -> None:
        """Lower `receipts.ttl_s` in the running gateway's settings file, and wait until all receipts are gone."""
        file = Path(self.facts.settings)
        settings = yaml.safe_load(file.read_text())
        for environment in settings.values():
            environment["gateway"]["receipts"] = {"ttl_s": 1}
        file.write_text(yaml.safe_dump(settings))
        self.store.without_receipts()

    def delivered(self) -> int:
        """Number of requests that the provider has answered so far."""
        return self.provider.request(None, ProviderCounts).apns

    @contextmanager
    def all_delivered(self, pings: int) -> Iterator[None]:
        """On leaving, wait for the last verdict of the pings that were sent meanwhile, and count their pushes.

        Raises:
            CannotMeasure: the provider received another number: one was lost or duplicated.
        """
        before = self.delivered()
        yield
        self.store.emptied()
        require_delivered(self.delivered() - before, pings)

    @contextmanager
    def window(self, **more: int) -> Iterator[Window]:
        """Open a measurement; it closes when the last verdict is recorded.

        Args:
            more: further processes by the name of their part.

        Raises:
            CannotMeasure: a ping had no verdict, or a measured part used too little CPU to be counted.
        """
        generators = [self._load.pid, self._probe.pid]
        parts = {"gateway": self.gateway.pids, "provider": [self.provider.pid], "load": generators}
        parts |= {part: [pid] for part, pid in more.items()}
        with PeakMemory(lambda: parts["gateway"]) as memory:
            window = Window(memory)
            redis, delivered = self.store.counters(), self.delivered()
            before = {part: cpu_s(pids) for part, pids in parts.items()}
            begun = time.perf_counter()
            yield window
            self.store.emptied()
            window.seconds = time.perf_counter() - begun
            window.cpu = {part: cpu_s(pids) - before[part] for part, pids in parts.items()}
            counted({part: window.cpu[part] for part in ("gateway", *more)})
            window.redis = self.store.counters().since(redis)
            window.cpu["redis"] = window.redis.cpu_s
            window.delivered = self.delivered() - delivered

    def load(
        self,
        requests: int,
        *,
        rate: float = 0.0,
        stride: int = STRIDE,
        first: int = 0,
        named: int = 1,
        port: int | None = None,
        connections: int | None = None,
        on_progress: Progress | None = None,
        reconnect: bool = False,
    ) -> LoadResult:
        """Send pings, see `roles.load.LoadOrder`.

        Raises:
            CannotMeasure: not all were answered with 200.
        """
        order = LoadOrder(
            port or self.gateway.port,
            ping_template(named=named),
            requests,
            self.plan.users,
            connections or self.plan.connections,
            rate,
            stride,
            first,
            named,
            reconnect=reconnect,
        )
        return self.carry_out(order, on_progress)

    def carry_out(self, order: LoadOrder, on_progress: Progress | None = None) -> LoadResult:
        """Send the requests of an order.

        Raises:
            CannotMeasure: not all were answered with 200.
        """
        done = self._load.request(order, LoadResult, on_progress)
        if done.answered != order.requests:
            raise CannotMeasure(
                f"answers by status: {done.statuses}; {order.requests} times 200 was expected"
            )
        return done

    @contextmanager
    def probing(self, probe: Probe, on_progress: Progress | None = None) -> Iterator[list[int]]:
        """Send waited pings during the caller's block; on leaving, wait for the last response.

        Yields:
            The latency of each in microseconds, from the time at which it was due to the response with its verdict;
                filled when the context is left.

        Raises:
            CannotMeasure: not all were answered with 200.
        """
        template = ping_template(wait=True)
        order = LoadOrder(
            self.gateway.port, template, probe.pings, self.plan.users, PROBE_CONNECTIONS, probe.rate
        )
        latencies: list[int] = []
        self._probe.send(order)
        yield latencies
        done = self._probe.receive(LoadResult, on_progress)
        if done.answered != probe.pings:
            raise CannotMeasure(f"answers by status: {done.statuses}; {probe.pings} times 200 was expected")
        latencies += done.latencies_us

    def warm(self) -> None:
        """Ping every user once, so that connections are open and the registry's cache is full; wait for the last
        verdict."""
        self.load(self.plan.users, stride=1)
        self.store.emptied()

    def post(self, request: bytes) -> float:
        """Send one complete request on a connection of its own, and return the seconds until its 200.

        Raises:
            CannotMeasure: another response, or none.
        """
        begun = time.perf_counter()
        try:
            with socket.create_connection(("127.0.0.1", self.gateway.port)) as link:
                link.sendall(request)
                answer = link.recv(65536)
        except OSError as error:
            raise CannotMeasure(f"the gateway does not answer: {error.strerror}") from error
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise CannotMeasure(f"the gateway answered {answer[:200].decode(errors='replace')!r}")
        return time.perf_counter() - begun


def counted(cpu: Mapping[str, float]) -> None:
    """Check that each part used enough CPU: less than one tick (10 ms) would be counted as zero.

    Args:
        cpu: seconds, by part.

    Raises:
        CannotMeasure: a part used less.
    """
    for part, seconds in cpu.items():
        if seconds <= 0:
            raise CannotMeasure(f"too little was sent: {part} used less CPU than /proc counts (10 ms)")


def require_delivered(delivered: int, due: int) -> None:
    """Check that no push was lost or sent twice.

    Args:
        delivered: requests that the provider answered.
        due: pushes of the pings that were accepted.

    Raises:
        CannotMeasure: the numbers differ.
    """
    if delivered != due:
        raise CannotMeasure(f"{due} pushes were due and {delivered} came to the provider")


def limit_note(provider_cpu_s: float, count: int, seconds: float) -> str | None:
    """The note that the simulator could not answer twice the sent requests, if so.

    Args:
        provider_cpu_s: CPU of the simulator.
        count: requests that it answered with that CPU.
        seconds: wall clock. Its capacity is the number of requests that one core would answer.
    """
    capacity = count / max(provider_cpu_s, 1e-9)
    if capacity >= LIMIT_FACTOR * count / seconds:
        return None
    return f"the simulator is the limit: its capacity is {capacity:,.0f}/s, less than twice the rate that was sent"
