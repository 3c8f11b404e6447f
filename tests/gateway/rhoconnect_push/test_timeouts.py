"""Time limits without timers, exactly at the limit."""

from gateway.rhoconnect_push.timeouts import Timeouts


def test_a_member_expires_at_its_limit_and_not_before() -> None:
    watch: Timeouts[str] = Timeouts(3)
    watch.start("a", 10)
    assert watch.expired(12) == []
    assert watch.expired(13) == ["a"]
    assert watch.expired(14) == []


def test_members_expire_in_the_order_of_their_start() -> None:
    watch: Timeouts[str] = Timeouts(3)
    for now, member in enumerate("abc"):
        watch.start(member, now)
    assert watch.expired(4) == ["a", "b"]
    assert len(watch) == 1


def test_a_second_start_restarts_the_time_limit() -> None:
    watch: Timeouts[str] = Timeouts(3)
    watch.start("a", 0)
    watch.start("b", 1)
    watch.start("a", 2)
    assert watch.expired(4) == ["b"]
    assert watch.expired(5) == ["a"]


def test_a_stopped_member_does_not_expire() -> None:
    watch: Timeouts[str] = Timeouts(1)
    watch.start("a", 0)
    watch.stop("a")
    watch.stop("never there")
    assert watch.expired(9) == []
