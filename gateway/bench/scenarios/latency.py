"""Latency for callers at a steady load: half and 80 % of the rate that this machine reaches.

On: everything, as `rhopush serve` is shipped. The maximum is measured first, in a closed loop (as `endtoend`). Then
pings are due at fixed times whatever the state of the responses (open loop); a ping that finds no free connection
waits, and its wait counts: no coordinated omission. Beside them 50 pings a second, by a generator of its own, wait
for their verdict. So there are two curves for each rate: POST to durable, and POST to recorded verdict. Generator,
Redis and provider share the cores with the gateway: the maximum is that of all of them together.
"""

from typing import Final, NamedTuple

from gateway.bench.bench import Bench, proves
from gateway.bench.latencies import Latencies
from gateway.bench.result import Figure, Plot, Ratio, Result
from gateway.bench.scenarios.endtoend import measure
from gateway.bench.testbed import BenchEnvironment, Probe

PINGS: Final = 60_000
USERS: Final = 10_000
_PARTS: Final = {"half": 0.5, "80 %": 0.8}
_PROBE_RATE: Final = 50.0
_SECONDS: Final = 8.0
_SECONDS_FULL: Final = 60.0


class _Measured(NamedTuple):
    """Latencies at one rate: POST to durable, POST to recorded verdict."""

    answer: Latencies
    verdict: Latencies


def run(bench: Bench) -> Result:
    """Measure the maximum, then the curves."""
    seconds = _SECONDS_FULL if bench.options.full else _SECONDS
    pings = bench.pings(PINGS)
    with bench.stand(USERS) as stand:
        window, _ = measure(bench, stand, pings)
        limit = window.limit_note()
        most = pings / window.seconds
        at = {name: _at(bench, stand, most * part, seconds) for name, part in _PARTS.items()}
    half = at["half"]
    return Result(
        scenario="latency",
        proves=proves(__doc__),
        figures=(
            Figure("maximum, closed loop", most, "pings/s"),
            Figure("maximum: gateway CPU a ping", window.cpu_us("gateway", pings), "µs"),
            Figure("maximum: Redis CPU a ping", window.cpu_us("redis", pings), "µs"),
            Figure("maximum: Redis traffic a ping", window.redis.network_bytes / pings, "bytes"),
            *(
                Figure(f"at {name}: {kind}, p{percentile:g}", getattr(measured, kind).ms(percentile), "ms")
                for name, measured in at.items()
                for kind in _Measured._fields
                for percentile in (50.0, 99.0, 99.9)
            ),
        ),
        ratios=(
            Ratio("answer at half: p99, to p50", half.answer.ms(99) / half.answer.ms(50), 5.0, at_most=True),
            Ratio(
                "verdict at half: p99, to p50", half.verdict.ms(99) / half.verdict.ms(50), 5.0, at_most=True
            ),
        ),
        notes=(limit,) if limit else (),
        plots=tuple(
            Plot(
                f"POST to {kind}, by percentile",
                "lines",
                "ms",
                tuple(getattr(measured, kind).curve(f"at {name}") for name, measured in at.items()),
                x_name="one in so many takes longer",
                log_x=True,
            )
            for kind in _Measured._fields
        ),
    )


def _at(bench: Bench, stand: BenchEnvironment, rate: float, seconds: float) -> _Measured:
    bench.progress.begin(f"{rate:,.0f} pings/s")
    probe, pings = Probe(int(_PROBE_RATE * seconds), _PROBE_RATE), int(rate * seconds)
    with stand.all_delivered(probe.pings + pings), stand.probing(probe) as times:
        load = stand.load(pings, rate=rate, on_progress=bench.progress.on_progress)
    return _Measured(Latencies(load.latencies_us), Latencies(times))
