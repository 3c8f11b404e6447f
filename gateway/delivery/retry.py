"""Retry times and the final end of deliveries, decided without await.

The first delays are settings; each further delay doubles (providers A7: Apple, 15 minutes with back-off after a
5xx; providers B3: Google, exponential with jitter, 60 s after a 429 without Retry-After). A Retry-After has
priority, unless it asks for no delay. No retry is scheduled beyond the ping's time to live or `retry.give_up_s`:
the delivery gets its final verdict now.
"""

from typing import Final, NamedTuple

from gateway.settings import RetrySettings
from protocols.verdict import Verdict, VerdictKind

EXPIRED: Final = "expired"
GAVE_UP: Final = "gave_up"
LANE_FULL: Final = "lane_full"

THROTTLED_S: Final = 60.0
"""Delay after a 429 without Retry-After (FCM: error-codes page; APNs TooManyRequests names no delay)."""
_MISCONFIGURED_S: Final = 60.0
"""Interval of retries while an operator must correct the credential."""
_DOUBLINGS_MAX: Final = 10


class RetryDecision(NamedTuple):
    """The decision about a delivery that was not accepted.

    Attributes:
        due_ms: epoch ms of the next attempt; None: the delivery ends, with `reason`.
        reason: reason of the final verdict.
    """

    due_ms: int | None
    reason: str


def first_delay_s(server_error_s: float, verdict: Verdict, status: int, retry: RetrySettings) -> float:
    """The delay of a first retry if the provider named none.

    Args:
        server_error_s: the delay after a 5xx, which depends on the provider.
        verdict: the verdict of the provider's response.
        status: status of the response; 0: there was none.
        retry: the settings.
    """
    if verdict.kind == VerdictKind.UNKNOWN:
        return retry.unknown_s
    if status == 429:
        return THROTTLED_S
    if status >= 500:
        return server_error_s
    if status == 0:
        return retry.unknown_s
    return _MISCONFIGURED_S


class RetryTiming(NamedTuple):
    """The input of the decision besides the verdict.

    Attributes:
        now_ms: epoch ms.
        first_ms: epoch ms of the first attempt of this delivery; 0: this is the first.
        expires_ms: end of the ping's time to live.
        attempt: number of attempts before this one.
        noise: random number from 0 to 1.
    """

    now_ms: int
    first_ms: int
    expires_ms: int
    attempt: int
    noise: float


def decide_retry(
    first_s: float, verdict: Verdict, timing: RetryTiming, retry: RetrySettings
) -> RetryDecision:
    """Decide about a `later` or `unknown` verdict; `first_s`: the delay of a first retry (`Provider.first_delay_s`)."""
    delay_s = verdict.delay_s
    if not delay_s:  # no delay, or a delay of 0, which would repeat the attempt in a loop
        delay_s = first_s * 2 ** min(timing.attempt, _DOUBLINGS_MAX)
    # Jitter only adds time: a provider that asked for a delay must not get an earlier retry.
    delay_s *= 1 + retry.jitter * timing.noise
    due_ms = timing.now_ms + int(delay_s * 1000)
    if due_ms >= timing.expires_ms:
        return RetryDecision(None, EXPIRED)
    if due_ms - (timing.first_ms or timing.now_ms) > retry.give_up_s * 1000:
        return RetryDecision(None, f"{GAVE_UP}:{verdict.reason}" if verdict.reason else GAVE_UP)
    return RetryDecision(due_ms, "")
