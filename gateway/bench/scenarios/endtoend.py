"""The complete path of small pings: from the POST to the last recorded verdict.

On: everything, as `rhopush serve` is shipped: HTTP ingress with authentication, the durable queue (append-only
file), registry, fan-out, delivery over TLS, receipts, metrics, logs. Each ping is the one of RhoConnect's Ruby
example for a user picked at random among 10,000, each with one Apple device, over 64 keep-alive connections, one
request at a time on each. Every user was pinged once before: connections are open and the registry's cache is warm.
Load generator, Redis and the provider, which accepts everything without parsing it, are processes beside it on the
same cores.

Then the same requests with 100 users in each, 200,000 pushes in all: comparable with gorush, which accepts as many
notifications in a request.
"""

from typing import Final, NamedTuple

from gateway.bench.bench import Bench, proves
from gateway.bench.latencies import Latencies
from gateway.bench.peers import Gorush, Peers
from gateway.bench.result import Comparison, Figure, Line, Plot, Ratio, Result
from gateway.bench.roles.load import LoadResult
from gateway.bench.testbed import PARTS, BenchEnvironment, Window, require_delivered

PINGS: Final = 60_000
USERS: Final = 10_000
NAMED: Final = 100
"""Users in a request that names many: gorush's limit of notifications."""
PUSHES: Final = 200_000
"""Pushes of all those requests."""


class _Many(NamedTuple):
    """Requests that name many users each.

    Attributes:
        named: users in a request.
        pushes: pushes of all requests, counted at the provider.
        window: measurements during the requests.
    """

    named: int
    pushes: int
    window: Window

    @property
    def name(self) -> str:
        """Their description, with the number of requests."""
        return f"{self.named} users a request"

    @property
    def rate(self) -> float:
        """Pushes a second."""
        return self.pushes / self.window.seconds


def run(bench: Bench) -> Result:
    """Measure, beside an empty aiohttp handler, a bare protocol and, where Go is, gorush."""
    pings = bench.pings(PINGS)
    with bench.stand(USERS) as stand:
        window, load = measure(bench, stand, pings)
        many = _measure_many(bench, stand)
        redis = stand.store.name
    gateway, with_redis = window.cpu_us("gateway", pings), window.cpu_us("redis", pings)
    rate = pings / window.seconds
    compared = _compared(bench.peers, gateway, rate, many) if bench.peers else Comparison()
    many_limit = many.window.limit_note()
    notes = (
        f"store: {redis}",
        window.limit_note(),
        many_limit and f"{many.name}: {many_limit}",
        *compared.notes,
    )
    return Result(
        scenario="endtoend",
        proves=proves(__doc__),
        figures=(
            *figures(window, pings),
            *answers(load),
            *_figures_of_many(many),
            *compared.figures,
        ),
        ratios=(
            Ratio("gateway CPU a ping", gateway, 25.0, at_most=True, unit="µs"),
            Ratio("gateway and Redis CPU a ping", gateway + with_redis, 40.0, at_most=True, unit="µs"),
            *compared.ratios,
        ),
        notes=tuple(note for note in notes if note),
        plots=(
            Plot(
                "CPU a ping, by part",
                "bars",
                "µs",
                (Line("CPU", tuple((part, window.cpu_us(part, pings)) for part in PARTS)),),
            ),
        ),
    )


def _compared(peers: Peers, gateway: float, rate: float, many: _Many) -> Comparison:
    """Compare the gateway's CPU a ping in µs, its pings a second and its requests to many users with the peers'."""
    aiohttp, bare = peers.aiohttp, peers.bare
    one, hundred = peers.optional("gorush"), peers.optional("gorush_hundreds")
    rivals = [rival.pushes for rival in (one, hundred) if rival]
    return Comparison(
        figures=(
            Figure("bare protocol: CPU a request", bare.cpu_us, "µs"),
            *(Figure(f"{rival.name}: pushes", rival.rate, "pushes/s") for rival in rivals),
            *(Figure(f"{rival.name}: CPU a push", rival.cpu_us, "µs") for rival in rivals),
        ),
        ratios=(
            Ratio("gateway CPU a ping, to aiohttp's a request", gateway / aiohttp.cpu_us, 0.4, at_most=True),
            Ratio("gateway CPU a ping, to the bare protocol's a request", gateway / bare.cpu_us),
            Ratio("aiohttp's CPU a request, to the bare protocol's", aiohttp.cpu_us / bare.cpu_us),
            *(Ratio(f"pushes/s, to those of {rival.name}", rate / rival.rate, 2.0) for rival in rivals),
            *_ratios_of_many(many, hundred),
        ),
        notes=peers.missing("gorush", "gorush_hundreds"),
    )


def measure(bench: Bench, stand: BenchEnvironment, pings: int) -> tuple[Window, LoadResult]:
    """Warm up, then send the pings.

    Raises:
        CannotMeasure: the provider received another number of pushes.
    """
    bench.progress.begin("warming up")
    stand.warm()
    bench.progress.begin(f"{pings:,} pings")
    with stand.window() as window:
        load = stand.load(pings, on_progress=bench.progress.on_progress)
    require_delivered(window.delivered, pings)
    return window, load


def _measure_many(bench: Bench, stand: BenchEnvironment) -> _Many:
    """Send requests that name many users each, at least one on every connection.

    Raises:
        CannotMeasure: the provider received another number of pushes.
    """
    named = min(NAMED, stand.plan.users)
    requests = max(bench.pings(PUSHES) // named, stand.plan.connections)
    pushes = requests * named
    bench.progress.begin(f"{requests:,} pings to {named} users each")
    with stand.window() as window:
        stand.load(requests, named=named, on_progress=bench.progress.on_progress)
    require_delivered(window.delivered, pushes)
    return _Many(named, pushes, window)


def _figures_of_many(many: _Many) -> tuple[Figure, ...]:
    window, name = many.window, many.name
    return (
        Figure(f"{name}: pushes", many.rate, "pushes/s"),
        Figure(f"{name}: gateway CPU a push", window.cpu_us("gateway", many.pushes), "µs"),
        Figure(f"{name}: Redis CPU a push", window.cpu_us("redis", many.pushes), "µs"),
        Figure(f"{name}: Redis traffic a push", window.redis.network_bytes / many.pushes, "bytes"),
    )


def _ratios_of_many(many: _Many, gorush: Gorush | None) -> tuple[Ratio, ...]:
    if gorush is None:
        return ()
    what = f"pushes/s with {many.name}, to those of {gorush.pushes.name}"
    return (Ratio(what, many.rate / gorush.pushes.rate, 2.0),)


def figures(window: Window, pings: int) -> tuple[Figure, ...]:
    """The figures of every scenario with a whole gateway."""
    return (
        Figure("pings", pings / window.seconds, "pings/s"),
        *(Figure(f"{part} CPU a ping", window.cpu_us(part, pings), "µs") for part in PARTS),
        Figure("Redis traffic a ping", window.redis.network_bytes / pings, "bytes"),
        Figure("Redis memory a ping", window.redis.memory_bytes / pings, "bytes"),
        Figure("gateway memory, peak PSS", window.memory.peak_bytes / 1e6, "MB"),
    )


def answers(load: LoadResult) -> tuple[Figure, ...]:
    """The response times of the HTTP ingress."""
    latencies = Latencies(load.latencies_us)
    return tuple(Figure(f"answer, p{part:g}", latencies.ms(part), "ms") for part in (50.0, 99.0))
