"""The whole way of small pings: from the POST to the last recorded verdict.

On: everything, as `rhopush serve` is shipped: doors with authentication, the durable queue (append-only
file), registry, fan-out, delivery over TLS, receipts, metrics, logs. Each ping is the one of RhoConnect's
Ruby example for a user picked at random among 10,000, each with one Apple device, over 64 keep-alive
connections, one request at a time on each. Every user was pinged once before: connections are open and the
registry's cache is warm. Load generator, Redis and the provider, which accepts everything unread, are
processes beside it on the same cores.
"""

from typing import Final

from gateway.bench.bench import Bench, proves
from gateway.bench.errors import CannotMeasure
from gateway.bench.latencies import Latencies
from gateway.bench.result import Figure, Line, Plot, Ratio, Result
from gateway.bench.roles.load import LoadResult
from gateway.bench.stand import PARTS, Stand, Window

PINGS: Final = 60_000
USERS: Final = 10_000


def run(bench: Bench) -> Result:
    """Measure, beside an empty aiohttp handler, a bare protocol and, where Go is, gorush."""
    pings = bench.pings(PINGS)
    with bench.stand(USERS) as stand:
        window, load = measure(bench, stand, pings)
        redis = stand.store.name
    gateway, with_redis = window.cpu_us("gateway", pings), window.cpu_us("redis", pings)
    aiohttp, bare, rate = bench.peers.aiohttp, bench.peers.bare, pings / window.seconds
    one, hundred = bench.peers.optional("gorush"), bench.peers.optional("gorush_hundreds")
    rivals = [rival.pushes for rival in (one, hundred) if rival]
    notes = (
        f"store: {redis}",
        window.limit_note(),
        *bench.peers.missing("gorush", "gorush_hundreds"),
    )
    return Result(
        scenario="endtoend",
        proves=proves(__doc__),
        figures=(
            *figures(window, pings),
            *answers(load),
            Figure("bare protocol: CPU a request", bare.cpu_us, "µs"),
            *(Figure(f"{rival.name}: pushes", rival.rate, "pushes/s") for rival in rivals),
            *(Figure(f"{rival.name}: CPU a push", rival.cpu_us, "µs") for rival in rivals),
        ),
        ratios=(
            Ratio("gateway CPU a ping", gateway, 25.0, at_most=True, unit="µs"),
            Ratio("gateway and Redis CPU a ping", gateway + with_redis, 40.0, at_most=True, unit="µs"),
            Ratio("gateway CPU a ping, to aiohttp's a request", gateway / aiohttp.cpu_us, 0.4, at_most=True),
            Ratio("gateway CPU a ping, to the bare protocol's a request", gateway / bare.cpu_us),
            Ratio("aiohttp's CPU a request, to the bare protocol's", aiohttp.cpu_us / bare.cpu_us),
            *(Ratio(f"pushes/s, to those of {rival.name}", rate / rival.rate, 2.0) for rival in rivals),
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


def measure(bench: Bench, stand: Stand, pings: int) -> tuple[Window, LoadResult]:
    """Warm up, then send so many pings.

    Raises:
        CannotMeasure: not as many pushes came to the provider.
    """
    bench.progress.begin("warming up")
    stand.warm()
    bench.progress.begin(f"{pings:,} pings")
    with stand.window() as window:
        load = stand.load(pings, told=bench.progress.told)
    if window.delivered != pings:
        raise CannotMeasure(f"{pings} pings were accepted and {window.delivered} pushes came to the provider")
    return window, load


def figures(window: Window, pings: int) -> tuple[Figure, ...]:
    """What every scenario with a whole gateway tells."""
    return (
        Figure("pings", pings / window.seconds, "pings/s"),
        *(Figure(f"{part} CPU a ping", window.cpu_us(part, pings), "µs") for part in PARTS),
        Figure("Redis traffic a ping", window.redis.network_bytes / pings, "bytes"),
        Figure("Redis memory a ping", window.redis.memory_bytes / pings, "bytes"),
        Figure("gateway memory, peak PSS", window.memory.peak_bytes / 1e6, "MB"),
    )


def answers(load: LoadResult) -> tuple[Figure, ...]:
    """How the door answered."""
    latencies = Latencies(load.latencies_us)
    return tuple(Figure(f"answer, p{part:g}", latencies.ms(part), "ms") for part in (50.0, 99.0))
