"""Many pings one after the other: whether any memory of the gateway or Redis grows with them.

On: everything, as `rhopush serve` is shipped. 200,000 pings (a million with --full) for 10,000 registered users in
ten equal parts; after each part the last verdict is awaited, then memory is read: of the gateway's processes (PSS),
and of Redis' data with its keys. The first fifth fills caches and pools. Accepted pings are delivered, and a
delivered ping leaves nothing in Redis but its receipt, which is stored for a day. The run ends long before that, so
memory and keys grow by the receipts. At the end `receipts.ttl_s` is lowered in the settings file, which the running
gateway reloads; once it has removed the receipts, Redis' memory is compared with the start.
"""

from typing import Final, NamedTuple

from gateway.bench.bench import Bench, proves
from gateway.bench.errors import CannotMeasure
from gateway.bench.result import Figure, Line, Plot, Ratio, Result
from gateway.bench.testbed import BenchEnvironment, require_delivered
from gateway.bench.usage import pss_bytes

PINGS: Final = 200_000
PINGS_FULL: Final = 1_000_000
USERS: Final = 10_000
PARTS: Final = 10
_FIFTH: Final = 2
BAR: Final = 1.05


class _HeldMemory(NamedTuple):
    """Memory of the gateway and of Redis in MB; Redis' keys, and those of them without a lifetime."""

    gateway_mb: float
    redis_mb: float
    keys: int
    lasting: int


def run(bench: Bench) -> Result:
    """Send the pings, with ten readings.

    Raises:
        CannotMeasure: there are too few, or the provider received another number of pushes.
    """
    part = bench.pings(PINGS_FULL if bench.options.full else PINGS) // PARTS
    if not part:
        raise CannotMeasure(f"soak reads the memory {PARTS} times: it needs at least as many pings")
    with bench.stand(USERS) as stand:
        stand.warm()
        held = [_held(stand)]
        before, delivered = stand.store.counters(), stand.delivered()
        for number in range(PARTS):
            bench.progress.begin(f"soak, part {number + 1} of {PARTS}")
            stand.load(part, first=number * part, on_progress=bench.progress.on_progress)
            stand.store.emptied()
            held.append(_held(stand))
        used = stand.store.counters().since(before)
        bench.progress.begin("receipts end")
        stand.end_receipts()
        after = _held(stand)
        delivered = stand.delivered() - delivered
    require_delivered(delivered, part * PARTS)
    start, fifth, end = held[0], held[_FIFTH], held[-1]
    return Result(
        scenario="soak",
        proves=proves(__doc__),
        figures=(
            Figure("pings", part * PARTS),
            Figure("Redis CPU a ping", used.cpu_s / (part * PARTS) * 1e6, "µs"),
            Figure("Redis traffic a ping", used.network_bytes / (part * PARTS), "bytes"),
            Figure(
                "Redis memory kept a ping", (end.redis_mb - start.redis_mb) * 1e6 / (part * PARTS), "bytes"
            ),
            *(
                Figure(f"{name}, {when}", getattr(one, field), unit)
                for name, field, unit in _HELD
                for when, one in (
                    ("at the start", start),
                    ("at 20 %", fifth),
                    ("at the end", end),
                    ("without receipts", after),
                )
            ),
        ),
        ratios=ratios(start, fifth, end, after),
        plots=tuple(
            Plot(
                f"{name}, by pings",
                "lines",
                unit or "keys",
                (Line(name, tuple((index * part, getattr(one, field)) for index, one in enumerate(held))),),
                x_name="pings",
            )
            for name, field, unit in _HELD
        ),
    )


def ratios(start: _HeldMemory, fifth: _HeldMemory, end: _HeldMemory, after: _HeldMemory) -> tuple[Ratio, ...]:
    """Growth: of the gateway since its caches were full, of Redis since the start."""
    return (
        Ratio("gateway memory at the end, to 20 %", end.gateway_mb / fifth.gateway_mb, BAR, at_most=True),
        Ratio("Redis memory at the end, to the start", end.redis_mb / start.redis_mb),
        Ratio(
            "Redis memory once receipts have ended, to the start",
            after.redis_mb / start.redis_mb,
            BAR,
            at_most=True,
        ),
        Ratio(
            "Redis keys without a lifetime at the end, to the start",
            end.lasting / start.lasting,
            BAR,
            at_most=True,
        ),
    )


_HELD: Final = (
    ("gateway memory (PSS)", "gateway_mb", "MB"),
    ("Redis memory", "redis_mb", "MB"),
    ("Redis keys", "keys", ""),
    ("Redis keys without a lifetime", "lasting", ""),
)


def _held(stand: BenchEnvironment) -> _HeldMemory:
    redis = stand.store.counters()
    return _HeldMemory(
        pss_bytes(stand.gateway.pids) / 1e6, redis.memory_bytes / 1e6, redis.keys, redis.lasting
    )
