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
    [
        (b"120", 120.0),
        (b"Tue, 01 Dec 2026 12:02:00 GMT", 120.0),
        (b"", None),
        (b"soon", None),
        (b"-5", None),
        (b"1e9", None),
        (b"9" * 30, None),
        ("²".encode(), None),
    ],
)
def test_retry_after_is_read_as_seconds_or_a_date(header: bytes, seconds: float | None) -> None:
    noon = (b"date", b"Tue, 01 Dec 2026 12:00:00 GMT")
    assert judge(503, [(b"retry-after", header), noon]).retry_after_s == seconds
    assert judge(503).retry_after_s is None


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
