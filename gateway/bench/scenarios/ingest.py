"""The HTTP ingress alone: from the POST to the response, which is sent once Redis has the ping.

On, in the measured process: the HTTP ingress as a worker opens it (HTTP, authentication, parsing, validation,
metrics) and the group commit into the durable queue (append-only file). Off there: everything behind the queue. A
complete gateway beside it, in processes of its own that are measured separately, consumes the pings to their last
verdict. Over 64 keep-alive connections, one request at a time on each. The peers are an empty aiohttp handler under
the same requests, and a bare protocol that answers them without parsing: its cost is the kernel's and uvloop's part
of any HTTP ingress in Python.
"""

from typing import Final

from gateway.bench.bench import Bench, proves
from gateway.bench.child import Child
from gateway.bench.peers import Peers
from gateway.bench.result import Comparison, Figure, Line, Plot, Ratio, Result
from gateway.bench.roles.http_ingress import IngressOrder
from gateway.bench.roles.load import LoadResult
from gateway.bench.scenarios.endtoend import answers
from gateway.bench.testbed import BenchEnvironment, Window, require_delivered

PINGS: Final = 60_000
USERS: Final = 10_000
_PARTS: Final = ("ingress", "redis", "gateway", "provider", "load")
_GORUSH_NOTE: Final = (
    "gorush answers when a notification is in its memory, and pushes meanwhile on the same cores"
)


def run(bench: Bench) -> Result:
    """Measure, beside an empty aiohttp handler, a bare protocol and, where Go is, gorush."""
    pings = bench.pings(PINGS)
    with bench.stand(USERS) as stand:
        window, load = _measure(bench, stand, pings)
    ingress, rate = window.cpu_us("ingress", pings), pings / load.seconds
    compared = _compared(bench.peers, ingress, rate) if bench.peers else Comparison()
    return Result(
        scenario="ingest",
        proves=proves(__doc__),
        figures=(
            Figure("requests", rate, "requests/s"),
            Figure("ingress CPU a request", ingress, "µs"),
            Figure("Redis CPU a ping (append and consumption)", window.cpu_us("redis", pings), "µs"),
            Figure(
                "Redis traffic a ping (append and consumption)", window.redis.network_bytes / pings, "bytes"
            ),
            Figure("consuming gateway's CPU a ping", window.cpu_us("gateway", pings), "µs"),
            Figure("load generator's CPU a request", window.cpu_us("load", pings), "µs"),
            *compared.figures,
            *answers(load),
        ),
        ratios=compared.ratios,
        notes=(
            "the consuming gateway, Redis and the load generator share the ingress' cores",
            *compared.notes,
        ),
        plots=(
            Plot(
                "CPU a ping, by part",
                "bars",
                "µs",
                (
                    Line(
                        "CPU",
                        (
                            *((part, window.cpu_us(part, pings)) for part in _PARTS),
                            *compared.bars,
                        ),
                    ),
                ),
            ),
        ),
    )


def _compared(peers: Peers, ingress: float, rate: float) -> Comparison:
    """Compare the ingress' CPU a request in µs and its requests a second with the peers'."""
    aiohttp, bare, gorush = peers.aiohttp, peers.bare, peers.optional("gorush")
    return Comparison(
        figures=(
            Figure("aiohttp: requests", aiohttp.rate, "requests/s"),
            Figure("aiohttp: CPU a request", aiohttp.cpu_us, "µs"),
            Figure("bare protocol: requests", bare.rate, "requests/s"),
            Figure("bare protocol: CPU a request", bare.cpu_us, "µs"),
            *([Figure("gorush, 1 a request: requests", gorush.requests_s, "requests/s")] if gorush else []),
        ),
        ratios=(
            Ratio("requests a CPU second, to aiohttp's", aiohttp.cpu_us / ingress, 3.0),
            Ratio("requests/s, to aiohttp's", rate / aiohttp.rate),
            Ratio("ingress CPU a request, to the bare protocol's", ingress / bare.cpu_us),
            Ratio("aiohttp's CPU a request, to the bare protocol's", aiohttp.cpu_us / bare.cpu_us),
            *([Ratio("requests/s, to gorush's", rate / gorush.requests_s, 1.5)] if gorush else []),
        ),
        notes=(_GORUSH_NOTE,) if gorush else peers.missing("gorush"),
        bars=tuple((peer.name, peer.cpu_us) for peer in (aiohttp, bare)),
    )


def _measure(bench: Bench, stand: BenchEnvironment, pings: int) -> tuple[Window, LoadResult]:
    with Child("http_ingress", stand.folder) as ingress:
        port = ingress.request(IngressOrder(stand.facts.settings, stand.store.address), int)
        stand.load(2_000, port=port)
        stand.store.emptied()
        bench.progress.begin(f"ingest, {pings:,} pings")
        with stand.window(ingress=ingress.pid) as window:
            load = stand.load(pings, port=port, on_progress=bench.progress.on_progress)
    require_delivered(window.delivered, pings)
    return window, load
