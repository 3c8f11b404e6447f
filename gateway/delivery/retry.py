"""When a send comes again, and when it ends: decisions without await.

The first delays are settings; each further one doubles (providers A7: Apple, 15 minutes with back-off
after a 5xx; providers B3: Google, exponential with jitter, 60 s after a 429 without Retry-After). A Retry-After wins,
unless it asks for no delay. Nothing is scheduled beyond the ping's time to live or `retry.give_up_s`: it gets its
final verdict now.
"""

from typing import Final, NamedTuple

from gateway.settings import RetrySettings
from protocols.verdict import Verdict, VerdictKind

EXPIRED: Final = "expired"
GAVE_UP: Final = "gave_up"
LANE_FULL: Final = "lane_full"

THROTTLED_S: Final = 60.0
"""429 without Retry-After (FCM: error-codes page; APNs TooManyRequests names no delay)."""
_MISCONFIGURED_S: Final = 60.0
"""The credential must be mended by a person: look again once a minute."""
_DOUBLINGS_MAX: Final = 10


class RetryDecision(NamedTuple):
    """What happens to a send that was not accepted.

    Attributes:
        due_ms: epoch ms of the next try; None: the send ends, with `reason`.
        reason: of the final verdict.
    """

    due_ms: int | None
    reason: str


def first_delay_s(server_error_s: float, verdict: Verdict, status: int, retry: RetrySettings) -> float:
    """The delay of a first retry where the provider named none.

    Args:
        server_error_s: the delay after a 5xx, which depends on the provider.
        verdict: the provider's answer, as judged.
        status: of the answer; 0: there was none.
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
    """What the decision depends on besides the verdict.

    Attributes:
        now_ms: epoch ms.
        first_ms: of the first try of this send; 0: this is it.
        expires_ms: end of the ping's time to live.
        attempt: tries before this one.
        noise: random, 0 to 1.
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
    if not delay_s:  # none, or no time at all, which is no delay and would come round at once for ever
        delay_s = first_s * 2 ** min(timing.attempt, _DOUBLINGS_MAX)
    # Only ever longer: a provider that asked for a delay must not be asked earlier.
    delay_s *= 1 + retry.jitter * timing.noise
    due_ms = timing.now_ms + int(delay_s * 1000)
    if due_ms >= timing.expires_ms:
        return RetryDecision(None, EXPIRED)
    if due_ms - (timing.first_ms or timing.now_ms) > retry.give_up_s * 1000:
        return RetryDecision(None, f"{GAVE_UP}:{verdict.reason}" if verdict.reason else GAVE_UP)
    return RetryDecision(due_ms, "")
