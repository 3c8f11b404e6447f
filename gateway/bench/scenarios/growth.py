"""The cost of a ping with more registered users: 10,000, 100,000, and with --full a million.

On: everything, as `rhopush serve` is shipped. Users are registered in RhoConnect's own layout, ten keys a device and
five a user; pings are uniform over all of them. Cold: no user has been pinged since the start, so no worker has any
in its cache, and each is read from its snapshot (see `fanout`). Warm: every user has been pinged before, as often as
there are workers. A worker caches 100,000 users, each for 60 seconds at most (gateway/registry/cache.py): all of
10,000 or 100,000, but of a million one in ten at most, so that nine of ten warm pings read a snapshot there, as cold
ones do. With one worker and with two; workers, Redis, provider and generator share the cores, so more workers show
their cost here, not their speed.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from gateway.bench.bench import Bench, proves
from gateway.bench.result import Figure, Line, Plot, Ratio, Result
from gateway.bench.testbed import BenchEnvironment, Window, require_delivered

SIZES: Final = (10_000, 100_000)
SIZES_FULL: Final = (*SIZES, 1_000_000)
WORKERS: Final = (1, 2)
PINGS: Final = 40_000
COLD: Final = 10_000
"""Not more than the fewest users: a user who is pinged twice is no longer cold."""
WARM_BAR: Final = 1.1
COLD_BAR: Final = 1.5


class Point(NamedTuple):
    """One number of users with one number of workers: CPU of gateway and of Redis a ping in µs, Redis' traffic in
    bytes."""

    users: int
    workers: int
    cold_us: float
    warm_us: float
    cold_redis_us: float
    warm_redis_us: float
    cold_bytes: float
    warm_bytes: float
    rate: float
    limit: str | None = None


def run(bench: Bench) -> Result:
    """Measure each number of users with each number of workers."""
    sizes = SIZES_FULL if bench.options.full else SIZES
    points = [_point(bench, users, workers) for workers in WORKERS for users in sizes]
    return Result(
        scenario="growth",
        proves=proves(__doc__),
        figures=tuple(figure for point in points for figure in _figures(point)),
        ratios=ratios(points),
        notes=tuple(f"{_where(point)}: {point.limit}" for point in points if point.limit),
        plots=(
            Plot(
                "Gateway CPU a ping, by registered users",
                "lines",
                "µs",
                tuple(line for workers in WORKERS for line in _lines(points, workers)),
                x_name="users",
                log_x=True,
            ),
        ),
    )


def _point(bench: Bench, users: int, workers: int) -> Point:
    pings = bench.pings(PINGS)
    with bench.stand(users, workers=workers, exact=True) as stand:
        stand.load(64 * workers)  # opens the connections to the provider
        stand.store.emptied()
        cold = _cost(bench, stand, "cold", COLD)
        bench.progress.begin(f"warming up {users:,} users")
        for _ in range(workers):
            stand.warm()
        warm = _cost(bench, stand, "warm", pings)
    return Point(
        users=users,
        workers=workers,
        cold_us=cold.cpu_us("gateway", COLD),
        warm_us=warm.cpu_us("gateway", pings),
        cold_redis_us=cold.cpu_us("redis", COLD),
        warm_redis_us=warm.cpu_us("redis", pings),
        cold_bytes=cold.redis.network_bytes / COLD,
        warm_bytes=warm.redis.network_bytes / pings,
        rate=pings / warm.seconds,
        limit=warm.limit_note(),
    )


def _cost(bench: Bench, stand: BenchEnvironment, how: str, pings: int) -> Window:
    """Send the pings to the users.

    Raises:
        CannotMeasure: the provider received another number of pushes.
    """
    bench.progress.begin(f"{stand.plan.users:,} users, {stand.plan.workers} workers, {how}")
    with stand.window() as window:
        stand.load(pings, first=100, on_progress=bench.progress.on_progress)
    require_delivered(window.delivered, pings)
    return window


def _where(point: Point) -> str:
    return f"{point.users:,} users, {point.workers} worker{'s' * (point.workers > 1)}"


def _figures(point: Point) -> tuple[Figure, ...]:
    where = _where(point)
    return (
        Figure(f"{where}: gateway CPU a ping, cold", point.cold_us, "µs"),
        Figure(f"{where}: gateway CPU a ping, warm", point.warm_us, "µs"),
        Figure(f"{where}: Redis CPU a ping, cold", point.cold_redis_us, "µs"),
        Figure(f"{where}: Redis CPU a ping, warm", point.warm_redis_us, "µs"),
        Figure(f"{where}: Redis traffic a ping, cold", point.cold_bytes, "bytes"),
        Figure(f"{where}: Redis traffic a ping, warm", point.warm_bytes, "bytes"),
        Figure(f"{where}: pings, warm", point.rate, "pings/s"),
    )


def ratios(points: Sequence[Point]) -> tuple[Ratio, ...]:
    """Compare the most users with the fewest, warm: the stricter meaning of "cold", too."""
    found = []
    for workers in WORKERS:
        few, *_, many = [point for point in points if point.workers == workers]
        what = (
            f"CPU a ping with {many.users:,} users, to {few.users:,}, {workers} worker{'s' * (workers > 1)}"
        )
        found += [
            Ratio(f"{what}, warm", many.warm_us / few.warm_us, WARM_BAR, at_most=True),
            Ratio(f"{what}, cold to warm", many.cold_us / few.warm_us, COLD_BAR, at_most=True),
            Ratio(f"{what}, cold to cold", many.cold_us / few.cold_us),
        ]
    return tuple(found)


def _lines(points: Sequence[Point], workers: int) -> tuple[Line, ...]:
    of = [point for point in points if point.workers == workers]
    return (
        Line(f"cold, {workers} workers", tuple((float(point.users), point.cold_us) for point in of)),
        Line(f"warm, {workers} workers", tuple((float(point.users), point.warm_us) for point in of)),
    )
