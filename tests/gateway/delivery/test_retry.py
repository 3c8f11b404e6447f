"""The delay of a retry, and the end of a delivery."""

import pytest

from gateway.delivery.provider_registry import installed
from gateway.delivery.retry import EXPIRED, GAVE_UP, RetryDecision, RetryTiming, decide_retry
from gateway.settings import RetrySettings
from protocols.verdict import Verdict, VerdictKind

RETRY = RetrySettings(apns_5xx_s=900, fcm_5xx_s=10, unknown_s=5, give_up_s=10_000, jitter=0.2)
LATER = Verdict(VerdictKind.LATER, "ServiceUnavailable")
UNKNOWN = Verdict(VerdictKind.UNKNOWN, "deadline")
FAR_MS = 10**15


def timing(**changes: float) -> RetryTiming:
    return RetryTiming(1_000_000, 0, FAR_MS, 0, 0.0)._replace(**changes)


def decided(
    name: str, verdict: Verdict, status: int, at: RetryTiming, retry: RetrySettings = RETRY
) -> RetryDecision:
    provider = installed().get(name)
    assert provider is not None
    return decide_retry(provider.first_delay_s(verdict, status, retry), verdict, at, retry)


@pytest.mark.parametrize(
    ("provider", "verdict", "status", "delay_s"),
    [
        ("apns", LATER, 503, 900),
        ("apns", LATER, 500, 900),
        ("fcm", LATER, 503, 10),
        ("fcm", LATER, 500, 10),
        ("apns", LATER, 429, 60),
        ("fcm", LATER, 429, 60),
        ("apns", LATER, 403, 60),
        ("apns", UNKNOWN, 0, 5),
        ("fcm", UNKNOWN, 0, 5),
        ("apns", Verdict(VerdictKind.LATER, "refused"), 0, 5),
        ("apns", Verdict(VerdictKind.LATER, "x", delay_s=7), 503, 7),
        ("fcm", Verdict(VerdictKind.LATER, "x", delay_s=7), 429, 7),
    ],
)
def test_the_first_delay_depends_on_provider_and_verdict(
    provider: str, verdict: Verdict, status: int, delay_s: int
) -> None:
    assert decided(provider, verdict, status, timing()) == RetryDecision(1_000_000 + delay_s * 1000, "")


@pytest.mark.parametrize(("attempt", "delay_s"), [(0, 10), (1, 20), (2, 40), (3, 80)])
def test_each_delay_is_twice_the_last(attempt: int, delay_s: int) -> None:
    found = decided("fcm", LATER, 503, timing(attempt=attempt))
    assert found.due_ms == 1_000_000 + delay_s * 1000


def test_a_delay_requested_by_a_provider_does_not_grow() -> None:
    found = decided("fcm", Verdict(VerdictKind.LATER, "x", delay_s=7), 503, timing(attempt=9))
    assert found.due_ms == 1_007_000


@pytest.mark.parametrize(("attempt", "delay_s"), [(0, 10), (3, 80)])
def test_without_a_requested_delay_the_settings_apply(attempt: int, delay_s: int) -> None:
    """A Retry-After of 0, or of a date that has passed."""
    found = decided("fcm", Verdict(VerdictKind.LATER, "x", delay_s=0.0), 503, timing(attempt=attempt))
    assert found.due_ms == 1_000_000 + delay_s * 1000


@pytest.mark.parametrize(("noise", "delay_ms"), [(0.0, 10_000), (0.5, 11_000), (1.0, 12_000)])
def test_jitter_only_extends_a_delay(noise: float, delay_ms: int) -> None:
    assert decided("fcm", LATER, 503, timing(noise=noise)).due_ms == 1_000_000 + delay_ms


@pytest.mark.parametrize(("expires_ms", "ends"), [(1_009_999, True), (1_010_000, True), (1_010_001, False)])
def test_no_attempt_follows_the_time_to_live(expires_ms: int, ends: bool) -> None:
    found = decided("fcm", LATER, 503, timing(expires_ms=expires_ms))
    assert found == (RetryDecision(None, EXPIRED) if ends else RetryDecision(1_010_000, ""))


@pytest.mark.parametrize(
    ("first_ms", "ends"), [(0, False), (10_000 + 1, False), (10_000, False), (9_999, True)]
)
def test_attempts_end_after_give_up_s(first_ms: int, ends: bool) -> None:
    """`give_up_s` counts from the first try to the next one, 10 s from now."""
    retry = RetrySettings(fcm_5xx_s=10, give_up_s=1000, jitter=0)
    found = decided("fcm", LATER, 503, timing(first_ms=first_ms), retry)
    assert found == (
        RetryDecision(None, f"{GAVE_UP}:ServiceUnavailable") if ends else RetryDecision(1_010_000, "")
    )


def test_a_retry_after_beyond_give_up_s_ends_the_delivery() -> None:
    found = decided("fcm", Verdict(VerdictKind.LATER, "", delay_s=10_001), 503, timing())
    assert found == RetryDecision(None, GAVE_UP)
