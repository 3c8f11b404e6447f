"""The clock that gateways share, and the time for provider tokens, with clocks that jump."""

import pytest
from structlog.testing import capture_logs

from gateway.clock import SUSPECT_S, ProviderClock, SharedClock

START_S = 1_800_000_000
JUMPS_S = [-86_400, -3_600, 3_600, 86_400]


class Clocks:
    """A monotonic clock, the local wall clock and Redis' clock, all set by the test."""

    def __init__(self) -> None:
        self.steady_s = 1_000.0
        self.local_ahead_s = 0.0
        self.redis_ahead_s = 0.0
        self.shared = SharedClock(lambda: int(self.steady_s * 1e9), lambda: int(self.local_s() * 1e9))

    def local_s(self) -> float:
        return START_S + self.steady_s + self.local_ahead_s

    def redis_s(self) -> float:
        return START_S + self.steady_s + self.redis_ahead_s

    def read(self, took_s: float = 0.002, answered_after: float = 0.5) -> None:
        """Read Redis' time."""
        asked_ms = self.shared.steady_ms()
        self.steady_s += took_s * answered_after
        redis_ms = int(self.redis_s() * 1000)
        self.steady_s += took_s * (1 - answered_after)
        self.shared.record_reading(asked_ms, redis_ms)


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.mark.parametrize("jump_s", JUMPS_S)
def test_a_local_clock_that_is_wrong_from_the_start_does_not_count(jump_s: float) -> None:
    clocks = Clocks()
    clocks.local_ahead_s = jump_s
    clocks.read()
    assert clocks.shared.now_s() == pytest.approx(clocks.redis_s(), abs=0.01)
    assert clocks.shared.stable_s == float("inf")


@pytest.mark.parametrize("jump_s", JUMPS_S)
def test_a_jump_of_the_local_clock_changes_nothing(clocks: Clocks, jump_s: float) -> None:
    clocks.read()
    before_s = clocks.shared.now_s()
    clocks.local_ahead_s += jump_s
    assert clocks.shared.now_s() == before_s
    clocks.read()
    assert clocks.shared.now_s() == pytest.approx(before_s, abs=0.01)


def test_a_slow_reply_does_not_change_the_clock(clocks: Clocks) -> None:
    clocks.read()
    for answered_after in (0.0, 1.0, 0.5):
        clocks.read(took_s=30.0, answered_after=answered_after)
        assert clocks.shared.now_s() == pytest.approx(clocks.redis_s(), abs=0.01)


@pytest.mark.parametrize("jump_s", JUMPS_S)
def test_a_jump_of_redis_clock_is_followed_and_logged(clocks: Clocks, jump_s: float) -> None:
    clocks.read()
    clocks.redis_ahead_s += jump_s
    with capture_logs() as logs:
        clocks.read()
        clocks.read()
    assert clocks.shared.now_s() == pytest.approx(clocks.redis_s(), abs=0.01)
    assert [(line["event"], line["seconds"]) for line in logs] == [("redis_clock_jumped", jump_s)]
    assert clocks.shared.stable_s < 1
    clocks.steady_s += 60
    assert clocks.shared.stable_s > 59


@pytest.mark.parametrize("jump_s", JUMPS_S)
def test_the_age_of_a_ping_accepted_before_a_jump_is_unchanged(clocks: Clocks, jump_s: float) -> None:
    clocks.read()
    accepted_ms = clocks.shared.now_ms()
    clocks.steady_s += 5
    clocks.read()
    clocks.redis_ahead_s += jump_s
    clocks.read()
    age_s = (clocks.shared.now_ms() - clocks.shared.corrected(accepted_ms)) / 1000
    # After a jump back its age is unknown: it counts as accepted now.
    assert age_s == pytest.approx(5 if jump_s > 0 else 0, abs=0.1)
    assert clocks.shared.seconds_since([accepted_ms])[0] == pytest.approx(age_s, abs=0.1)


def test_timestamps_after_a_jump_are_not_translated(clocks: Clocks) -> None:
    clocks.read()
    clocks.redis_ahead_s += 3600
    clocks.read()
    accepted_ms = clocks.shared.now_ms()
    clocks.steady_s += 5
    assert clocks.shared.corrected(accepted_ms) == accepted_ms
    assert clocks.shared.corrected(0) == 0


def test_no_duration_is_negative(clocks: Clocks) -> None:
    clocks.read()
    now_ms = clocks.shared.now_ms()
    assert clocks.shared.seconds_since([now_ms - 2_000, now_ms, now_ms + 10_000]) == [2.0, 0.0, 0.0]


@pytest.mark.parametrize(("ahead_s", "lines"), [(4.0, 0), (6.0, 1), (-3_600.0, 1)])
def test_a_clock_difference_is_logged_once(clocks: Clocks, ahead_s: float, lines: int) -> None:
    clocks.read()
    clocks.local_ahead_s = ahead_s
    with capture_logs() as logs:
        for _ in range(3):
            clocks.shared.warn_of_skew()
        clocks.local_ahead_s = 0
        clocks.shared.warn_of_skew()
    assert [line["event"] for line in logs] == ["clock_skew_detected", "clock_skew_ended"][: 2 * lines]


def provider_clock(clocks: Clocks) -> ProviderClock:
    return ProviderClock("apns", clocks.shared, clocks.local_s)


def test_nothing_contradicts_the_clock_of_a_refused_token(clocks: Clocks) -> None:
    clocks.read()
    tokens = provider_clock(clocks)
    with capture_logs() as logs:
        assert not tokens.refused(None)
        assert not tokens.refused(clocks.redis_s())
        # Providers allow some minutes: such a small difference is not the cause of a refusal.
        assert not tokens.refused(clocks.redis_s() + SUSPECT_S - 1)
    assert logs == []


@pytest.mark.parametrize("jump_s", JUMPS_S)
def test_the_date_of_a_refusal_is_used(clocks: Clocks, jump_s: float) -> None:
    """Redis and the gateway are on one machine, and both clocks are wrong."""
    clocks.local_ahead_s = clocks.redis_ahead_s = jump_s
    clocks.read()
    tokens = provider_clock(clocks)
    right_s = START_S + clocks.steady_s
    with capture_logs() as logs:
        assert tokens.refused(right_s)
    assert tokens.now_s() == pytest.approx(right_s, abs=0.1)
    assert logs[0]["event"] == "clock_skew_suspected"
    assert logs[0]["refused_ahead_s"] == pytest.approx(jump_s, abs=0.1)
    clocks.steady_s += 100
    clocks.local_ahead_s = clocks.redis_ahead_s = 0.0
    assert tokens.now_s() == pytest.approx(right_s + 100, abs=0.1)


@pytest.mark.parametrize("jump_s", JUMPS_S)
def test_no_jump_changes_the_time_of_tokens(clocks: Clocks, jump_s: float) -> None:
    clocks.read()
    tokens = provider_clock(clocks)
    before_s = tokens.now_s()
    clocks.local_ahead_s = clocks.redis_ahead_s = jump_s
    clocks.read()
    assert tokens.now_s() == pytest.approx(before_s, abs=0.1)


@pytest.mark.parametrize("jump_s", JUMPS_S)
@pytest.mark.parametrize("both", [True, False])
def test_a_clock_that_was_corrected_after_a_refusal_counts(clocks: Clocks, jump_s: float, both: bool) -> None:
    clocks.redis_ahead_s = jump_s
    clocks.local_ahead_s = jump_s if both else 7_200
    clocks.read()
    tokens = provider_clock(clocks)
    assert not tokens.corrected()
    assert tokens.refused(None) != both
    assert tokens.refused(None) != both
    assert not tokens.corrected()
    clocks.redis_ahead_s = 0.0
    clocks.read()
    assert tokens.corrected()
    assert tokens.now_s() == pytest.approx(clocks.redis_s(), abs=0.1)
    assert not tokens.corrected()


@pytest.mark.parametrize("jump_s", JUMPS_S)
def test_without_a_date_local_and_shared_clock_take_turns(clocks: Clocks, jump_s: float) -> None:
    clocks.redis_ahead_s = jump_s
    clocks.read()
    tokens = provider_clock(clocks)
    assert tokens.now_s() == pytest.approx(clocks.redis_s(), abs=0.1)
    assert tokens.refused(None)
    assert tokens.now_s() == pytest.approx(clocks.local_s(), abs=0.1)
    assert tokens.refused(None)
    assert tokens.now_s() == pytest.approx(clocks.redis_s(), abs=0.1)
