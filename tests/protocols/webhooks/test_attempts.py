"""The judgement on answers, and the delays."""

import pytest

from protocols.webhooks.attempts import GIVE_UP_S, RETRY_S, Outcome, delay_s, failed, judge


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Outcome.DELIVERED),
        (204, Outcome.DELIVERED),
        (299, Outcome.DELIVERED),
        (301, Outcome.FAILED),
        (308, Outcome.FAILED),
        (400, Outcome.FAILED),
        (410, Outcome.DISABLED),
        (429, Outcome.FAILED),
        (500, Outcome.FAILED),
    ],
)
def test_an_answer_is_judged_by_its_status(status: int, outcome: Outcome) -> None:
    attempt = judge(status)
    assert (attempt.outcome, attempt.status) == (outcome, status)
    assert bool(attempt.error) == (outcome is not Outcome.DELIVERED)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("120", 120.0), ("", None), ("soon", None), ("-5", None), ("1e9", None), ("9" * 30, None), ("²", None)],
)
def test_retry_after_in_seconds_is_read(header: str, seconds: float | None) -> None:
    assert judge(503, header).retry_after_s == seconds


def test_delays_grow_to_the_last_one_and_have_jitter() -> None:
    planned = [delay_s(failures, 0.0) for failures in range(1, len(RETRY_S) + 3)]
    assert planned == [*RETRY_S, RETRY_S[-1], RETRY_S[-1]]
    assert delay_s(1, 1.0) == pytest.approx(6.0)
    assert GIVE_UP_S == 3 * 24 * 3600


def test_a_retry_after_wins_if_it_is_longer_and_bounded() -> None:
    assert delay_s(1, 0.0, 60.0) == 60.0
    assert delay_s(8, 0.0, 60.0) == RETRY_S[-1]
    assert delay_s(1, 0.0, 1e8) == 3600.0


def test_an_attempt_without_an_answer_has_no_status() -> None:
    assert failed("refused")[:3] == (Outcome.FAILED, None, "refused")
