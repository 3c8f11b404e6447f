"""Attempts to log in: counted before the secret is looked at, and taken back where it is right."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from gateway.errors import StoreDown, TooManyRequests
from gateway.registry.login_limits import PAIR_ATTEMPTS, LoginLimits
from gateway.registry.logins import LoginThrottle


class Clock:
    """Monotonic seconds, set by hand."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def throttle(redis_client: Redis, clock: Clock) -> AsyncIterator[LoginThrottle]:
    made = LoginThrottle(LoginLimits(redis_client), 4, clock)
    yield made
    await made.close()


async def wrong() -> str | None:
    return None


async def right() -> str | None:
    return "bob"


async def test_wrong_attempts_are_counted_for_their_client_alone(throttle: LoginThrottle) -> None:
    for _ in range(PAIR_ATTEMPTS):
        assert await throttle.attempt("bob", "a", wrong) is None
    with pytest.raises(TooManyRequests):
        await throttle.attempt("bob", "a", right)
    assert await throttle.attempt("bob", "b", right) == "bob"


async def test_successful_attempts_are_not_counted(throttle: LoginThrottle) -> None:
    for _ in range(PAIR_ATTEMPTS + 1):
        assert await throttle.attempt("bob", "a", right) == "bob"


async def test_an_attempt_that_could_not_be_checked_is_not_counted(throttle: LoginThrottle) -> None:
    async def away() -> str | None:
        raise StoreDown("gone")

    for _ in range(PAIR_ATTEMPTS + 1):
        with pytest.raises(StoreDown):
            await throttle.attempt("bob", "a", away)
    assert await throttle.attempt("bob", "a", right) == "bob"


async def test_a_refusal_is_repeated_for_a_second_without_a_query_to_redis(
    throttle: LoginThrottle, clock: Clock, redis_client: Redis
) -> None:
    for _ in range(PAIR_ATTEMPTS):
        await throttle.attempt("bob", "a", wrong)
    with pytest.raises(TooManyRequests) as first:
        await throttle.attempt("bob", "a", right)
    await redis_client.flushall()
    with pytest.raises(TooManyRequests) as second:
        await throttle.attempt("bob", "a", right)
    assert second.value.retry_after_s == first.value.retry_after_s
    clock.now_s += 1.5
    assert await throttle.attempt("bob", "a", right) == "bob"


async def test_other_work_is_done_in_turn(throttle: LoginThrottle) -> None:
    assert await throttle.in_turn("a", right) == "bob"
