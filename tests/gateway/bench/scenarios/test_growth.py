"""The comparisons of `growth`."""

from gateway.bench.bench import proves
from gateway.bench.scenarios import growth
from gateway.bench.scenarios.growth import Point, ratios
from gateway.registry.cache import TTL_S, USERS_MAX


def point(users: int, workers: int, cold_us: float, warm_us: float) -> Point:
    return Point(users, workers, cold_us, warm_us, 0.0, 0.0, 0.0, 0.0, 1.0)


def test_the_most_users_are_held_against_the_fewest_warm() -> None:
    points = [
        point(10, 1, 60.0, 40.0),
        point(100, 1, 999.0, 999.0),
        point(1000, 1, 90.0, 44.0),
        point(10, 2, 60.0, 50.0),
        point(1000, 2, 90.0, 50.0),
    ]
    found = {ratio.name: ratio for ratio in ratios(points)}
    one = "CPU a ping with 1,000 users, to 10, 1 worker"
    assert found[f"{one}, warm"].value == 1.1
    assert found[f"{one}, warm"].reached
    assert found[f"{one}, cold to warm"].value == 2.25
    assert found[f"{one}, cold to warm"].reached is False
    assert found[f"{one}, cold to cold"].value == 1.5
    assert found["CPU a ping with 1,000 users, to 10, 2 workers, warm"].value == 1.0


def test_a_report_describes_the_users_in_a_warm_workers_cache() -> None:
    sentence = f"A worker caches {USERS_MAX:,} users, each for {TTL_S:g} seconds at most"
    assert sentence in proves(growth.__doc__)
