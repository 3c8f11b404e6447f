"""The peers, each measured once in a run, when a scenario first needs it, on the simulator of the scenarios."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

from gateway.bench import golang, h2load
from gateway.bench.child import Child
from gateway.bench.errors import CannotMeasure
from gateway.bench.h2load import H2loadResult
from gateway.bench.nginx import nginx
from gateway.bench.roles.load import LoadOrder, LoadResult
from gateway.bench.roles.peer import AioapnsOrder, Apns2Order, GorushOrder, PeerResult, PyfcmOrder
from gateway.bench.roles.provider import ProviderCounts, ProviderFacts, ProviderOrder
from gateway.bench.scratch import scratch
from gateway.bench.usage import cpu_s
from gateway.bench.wire import gorush_template, ping_template
from gateway.system.progress import Progress
from protocols.apns.credentials import ProviderKey

_REQUESTS: Final = 40_000
_CONNECTIONS: Final = (1, 4, 10)
_IN_FLIGHT: Final = (100, 300, 1000)
_PROBE_S: Final = 0.4
_ROUND_S: Final = 2.0
_PYFCM_BATCHES: Final = (1, 100)
_ONE_BY_ONE: Final = 5_000
_PACED: Final = 400
_GORUSH_REQUESTS: Final = 20_000
_GORUSH_WORKERS: Final = 100
_SILENT_S: Final = 10.0
_TO_NGINX: Final = 100_000
_NO_TOKEN: Final = "bearer " + "0" * 200
"""A header of the length of a provider token; nginx checks no token."""


def require(names: Sequence[str]) -> None:
    """Check the required programs and packages; called before any measurement, which takes minutes.

    Args:
        names: peers that a scenario requires: h2load, or packages.

    Raises:
        CannotMeasure: one of them is not installed.
    """
    for name in names:
        if name == "h2load":
            h2load.find()
        elif find_spec(name) is None:
            raise CannotMeasure(f"{name} is not installed (pip install '.[bench]')")


class PeerMeasurement(NamedTuple):
    """The measurement of a peer.

    Attributes:
        name: its name and settings.
        done: number of requests or pushes.
        seconds: wall clock.
        cpu_s: user and system time of its process.
        server_cpu_s: user and system time of the simulator.
    """

    name: str
    done: int
    seconds: float
    cpu_s: float
    server_cpu_s: float = 0.0

    @property
    def rate(self) -> float:
        """Requests or pushes a second."""
        return self.done / self.seconds

    @property
    def per_cpu_s(self) -> float:
        """Requests or pushes a second of CPU."""
        return self.done / self.cpu_s

    @property
    def cpu_us(self) -> float:
        """Microseconds of CPU for each."""
        return self.cpu_s / self.done * 1e6


class Gorush(NamedTuple):
    """The measurement of gorush.

    Attributes:
        pushes: counted at the simulator; CPU of the whole process.
        requests_s: requests answered a second.
    """

    pushes: PeerMeasurement
    requests_s: float


class _Site(NamedTuple):
    """A simulator to which a peer sends."""

    folder: Path
    facts: ProviderFacts
    provider: Child

    @property
    def pid(self) -> int:
        """The simulator's process."""
        return self.provider.pid


class Peers:
    """All peers of one run.

    Args:
        progress: displays the present measurement.
        connections: connections of the load generator.
    """

    def __init__(self, progress: Progress, connections: int) -> None:
        self._progress = progress
        self._connections = connections
        self._h2load: dict[int, PeerMeasurement] = {}
        self._missing: dict[str, str] = {}

    @cached_property
    def aiohttp(self) -> PeerMeasurement:
        """An empty aiohttp handler under the requests of the scenarios."""
        return self._answering("empty", "aiohttp, empty handler")

    @cached_property
    def bare(self) -> PeerMeasurement:
        """The lower bound of any HTTP ingress in Python under the same requests: a response to each read, without
        parsing."""
        return self._answering("bare", "bare protocol")

    def _answering(self, role: str, name: str) -> PeerMeasurement:
        self._progress.begin(f"peer {name}")
        with scratch() as folder, Child(role, folder) as server, Child("load", folder) as load:
            port = server.receive(int)
            load.request(self._order(port, 2_000), LoadResult)
            before = cpu_s([server.pid])
            done = load.request(self._order(port, _REQUESTS), LoadResult, self._progress.on_progress)
            used = cpu_s([server.pid]) - before
        if done.answered != _REQUESTS:
            raise CannotMeasure(f"{name}: {done.answered} of {_REQUESTS} requests")
        return PeerMeasurement(name, done.answered, done.seconds, used)

    @cached_property
    def aioapns(self) -> PeerMeasurement:
        """The best measurement of aioapns with 1 to 10 connections and 100 to 1,000 requests in flight."""
        settings = [(links, flights) for links in _CONNECTIONS for flights in _IN_FLIGHT]
        with self._site() as site, Child("aioapns_peer", site.folder) as peer:

            def measure(setting: tuple[int, int], seconds: float) -> PeerResult:
                return peer.request(AioapnsOrder(site.facts, *setting, seconds), PeerResult)

            probes = {}
            for index, setting in enumerate(settings):
                self._progress.begin(f"peer aioapns, {setting[0]} connections, {setting[1]} in flight")
                self._progress.on_progress(index / len(settings))
                probes[setting] = measure(setting, _PROBE_S)
            best = max(probes, key=lambda setting: probes[setting].accepted / probes[setting].cpu_s)
            done = measure(best, _ROUND_S)
        name = f"aioapns, {best[0]} connections, {best[1]} in flight"
        return PeerMeasurement(name, done.accepted, done.seconds, done.cpu_s)

    @cached_property
    def apns2(self) -> PeerMeasurement:
        """The best measurement of sideshow/apns2 with 100 to 1,000 pushes in flight.

        Raises:
            CannotMeasure: it cannot be built here.
        """
        self._progress.begin("peer sideshow/apns2")
        program = golang.build("apns2")
        with self._site() as site, Child("apns2", site.folder, program=program) as peer:
            found = []
            for flights in _IN_FLIGHT:
                done = peer.request(Apns2Order(site.facts, flights, _ROUND_S / 2), PeerResult)
                found.append(
                    PeerMeasurement(f"apns2, {flights} in flight", done.accepted, done.seconds, done.cpu_s)
                )
        return max(found, key=lambda peer: peer.per_cpu_s)

    @cached_property
    def gorush(self) -> Gorush:
        """The HTTP server of gorush with one notification a request; it answers when that is in its memory.

        Raises:
            CannotMeasure: it cannot be built here, or lost something.
        """
        return self._gorush(_GORUSH_REQUESTS, 1)

    @cached_property
    def gorush_hundreds(self) -> Gorush:
        """The HTTP server of gorush with a hundred notifications a request, as many as it allows."""
        return self._gorush(_GORUSH_REQUESTS // 20, 100)

    def _gorush(self, requests: int, notifications: int) -> Gorush:
        name = f"gorush, {notifications} a request"
        self._progress.begin(f"peer {name}")
        program, pushes = golang.build("gorush"), requests * notifications
        with (
            self._site() as site,
            Child("gorush", site.folder, program=program) as server,
            Child("load", site.folder) as load,
        ):
            port = server.request(GorushOrder(site.facts, pushes, _GORUSH_WORKERS), int)
            template = gorush_template(site.facts.topic, notifications)
            order = LoadOrder(port, template, requests, 10_000, self._connections)
            before, begun = cpu_s([server.pid]), time.perf_counter()
            ingress = load.request(order, LoadResult, self._progress.on_progress)
            delivered = _delivered(site.provider, pushes)
            seconds, used = time.perf_counter() - begun, cpu_s([server.pid]) - before
        if ingress.answered != requests or delivered != pushes:
            raise CannotMeasure(
                f"{name}: {ingress.answered} of {requests} requests, {delivered} of {pushes} pushes"
            )
        return Gorush(PeerMeasurement(name, pushes, seconds, used), requests / ingress.seconds)

    @cached_property
    def pyfcm(self) -> PeerMeasurement:
        """The better measurement of pyfcm: one message after the other, or a hundred at once."""
        with self._site() as site, Child("pyfcm_peer", site.folder) as peer:
            found = []
            for batch in _PYFCM_BATCHES:
                self._progress.begin(f"peer pyfcm, {batch} at once")
                done = peer.request(PyfcmOrder(site.facts, batch, _ROUND_S / 2), PeerResult)
                found.append(
                    PeerMeasurement(f"pyfcm, {batch} at once", done.accepted, done.seconds, done.cpu_s)
                )
        return max(found, key=lambda peer: peer.per_cpu_s)

    def h2load(self, requests: int) -> PeerMeasurement:
        """The measurement of h2load with this number of distinct requests over one connection."""
        if requests not in self._h2load:
            self._progress.begin(f"peer h2load, {requests:,} requests")
            self._h2load[requests] = self._run_h2load(requests, h2load.STREAMS)
        return self._h2load[requests]

    @cached_property
    def h2load_nginx(self) -> PeerMeasurement:
        """The measurement of h2load over one connection to nginx in place of the simulator.

        Raises:
            CannotMeasure: nginx is not installed.
        """
        self._progress.begin(f"peer h2load to nginx, {_TO_NGINX:,} requests")
        with scratch() as folder, nginx(folder) as (port, pid):
            paths = h2load.write_paths(folder, _TO_NGINX)
            before = cpu_s([pid])
            done = h2load.run(port, paths, _TO_NGINX, _NO_TOKEN, "com.example.app", h2load.STREAMS)
            server = cpu_s([pid]) - before
        return PeerMeasurement("h2load to nginx", done.accepted, done.seconds, done.cpu_s, server)

    @cached_property
    def provider_answer_s(self) -> float:
        """Mean time of the simulator's response to h2load, one request after the other on an open connection."""
        self._progress.begin("the provider's answer, one at a time")
        done = self._run_h2load(_ONE_BY_ONE, 1)
        return done.seconds / done.done

    def provider_answer_at_s(self, rate: float) -> float:
        """The mean time of the simulator's answer at `rate` requests a second: each wakes an idle process."""
        self._progress.begin(f"the provider's answer, {rate:g} a second")
        with self._site() as site:
            return self._h2load_to(site, _PACED, 1, rate).mean_s

    def _run_h2load(self, requests: int, streams: int) -> PeerMeasurement:
        with self._site() as site:
            before = cpu_s([site.pid])
            done = self._h2load_to(site, requests, streams)
            server = cpu_s([site.pid]) - before
        return PeerMeasurement("h2load", done.accepted, done.seconds, done.cpu_s, server)

    def _h2load_to(self, site: _Site, requests: int, streams: int, rate: float = 0.0) -> H2loadResult:
        facts, paths = site.facts, h2load.write_paths(site.folder, requests)
        key = ProviderKey(Path(facts.key_file).read_bytes(), facts.key_id, facts.team_id)
        authorization = f"bearer {key.token(time.time())}"
        return h2load.run(facts.apns_port, paths, requests, authorization, facts.topic, streams, rate)

    def optional(self, name: str) -> Any:
        """The measurement of the peer of this name; None if it is impossible, which is not tried twice."""
        if name in self._missing:
            return None
        try:
            return getattr(self, name)
        except CannotMeasure as error:
            self._missing[name] = error.message
            return None

    def anew(self, name: str) -> Any:
        """Measure an optional peer now: an earlier measurement was made under other conditions of the machine. The same
        result as of `optional`."""
        self.__dict__.pop(name, None)  # the value of the `cached_property`
        return self.optional(name)

    def missing(self, *names: str) -> tuple[str, ...]:
        """The reasons why optional peers were not measured: notes for a reader, each once."""
        reasons = (self._missing[name] for name in names if name in self._missing)
        return tuple(f"a peer is missing: {reason}" for reason in dict.fromkeys(reasons))

    def _order(self, port: int, requests: int) -> LoadOrder:
        return LoadOrder(port, ping_template(), requests, 10_000, self._connections)

    @contextmanager
    def _site(self) -> Iterator[_Site]:
        with ExitStack() as stack:
            folder = stack.enter_context(scratch())
            provider = stack.enter_context(Child("provider", folder))
            facts = provider.request(ProviderOrder(str(folder / "outfit")), ProviderFacts)
            yield _Site(folder, facts, provider)


def _delivered(provider: Child, pushes: int) -> int:
    """Wait until the simulator has answered all pushes, or no more arrive; return their number."""
    found, heard = 0, time.monotonic()
    while found < pushes and time.monotonic() - heard < _SILENT_S:
        time.sleep(0.02)
        now = provider.request(None, ProviderCounts).apns
        if now > found:
            found, heard = now, time.monotonic()
    return found
