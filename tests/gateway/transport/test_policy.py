import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.transport.policy import PROVEN, Backoff, ConnectionFacts, wants_another

FULL = ConnectionFacts(full=True, successes=PROVEN, throttled=False)
ROOMY = FULL._replace(full=False)
UNPROVEN = FULL._replace(successes=PROVEN - 1)
THROTTLED = FULL._replace(throttled=True)


@pytest.mark.parametrize(
    ("waiting", "links", "most", "wanted"),
    [
        (0, [], 4, False),
        (1, [], 4, True),
        (1, [], 0, False),
        (1, [FULL], 4, True),
        (0, [FULL], 4, False),
        (1, [FULL] * 3, 4, True),
        (1, [FULL] * 4, 4, False),
        (1, [FULL] * 5, 4, False),
        (1, [FULL, ROOMY], 4, False),
        (1, [FULL, UNPROVEN], 4, False),
        (1, [FULL, THROTTLED], 4, False),
    ],
)
def test_another_connection_is_opened_exactly_when_it_helps(
    waiting: int, links: list[ConnectionFacts], most: int, wanted: bool
) -> None:
    assert wants_another(waiting, links, most) is wanted


def backoff(jitter: float = 0.0) -> Backoff:
    return Backoff(lambda: jitter, first_s=1.0, most_s=8.0, brief_s=5.0, brief_free=3)


def test_failures_double_the_wait_up_to_its_limit() -> None:
    waits = []
    wait = backoff()
    for _ in range(6):
        wait.failed(100.0)
        waits.append(wait.wait_s(100.0))
    assert waits == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


def test_the_wait_ends_at_its_time() -> None:
    wait = backoff()
    assert wait.wait_s(0.0) == 0.0
    wait.failed(100.0)
    assert (wait.wait_s(100.9) > 0, wait.wait_s(101.0), wait.wait_s(500.0)) == (True, 0.0, 0.0)


def test_jitter_shortens_by_up_to_half() -> None:
    wait = backoff(jitter=0.5)
    wait.failed(0.0)
    assert wait.wait_s(0.0) == 0.75


def test_a_connection_that_worked_resets_the_count() -> None:
    wait = backoff()
    for _ in range(4):
        wait.failed(0.0)
    wait.ended(1, 60.0, 100.0)
    assert wait.wait_s(100.0) == 0.0
    wait.failed(100.0)
    assert wait.wait_s(100.0) == 1.0


def test_a_connection_without_a_success_counts_as_a_failure() -> None:
    wait = backoff()
    wait.ended(0, 60.0, 0.0)
    assert wait.wait_s(0.0) == 1.0


def test_a_few_short_connections_are_not_delayed_and_more_are() -> None:
    wait = backoff()
    waits = []
    for _ in range(5):
        wait.ended(1, 4.9, 0.0)
        waits.append(wait.wait_s(0.0))
    assert waits == [0.0, 0.0, 0.0, 1.0, 2.0]
    wait.ended(1, 5.0, 50.0)
    wait.ended(1, 1.0, 50.0)
    assert wait.wait_s(50.0) == 0.0


@given(st.lists(st.one_of(st.none(), st.tuples(st.integers(0, 2), st.floats(0, 100)))), st.floats(0, 0.999))
def test_the_wait_is_never_above_its_limit(ends: list[tuple[int, float] | None], jitter: float) -> None:
    wait = backoff(jitter)
    for end in ends:
        if end is None:
            wait.failed(0.0)
        else:
            wait.ended(*end, 0.0)
        assert 0.0 <= wait.wait_s(0.0) <= 8.0
