"""The judgement on a receiver's answer, and the delay until the next attempt.

| answer | outcome |
| --- | --- |
| 2xx | delivered |
| 410 | disabled: the receiver wants no further message (Standard Webhooks, "Deliverability") |
| 3xx | failed: a redirect is not followed, since only the settings may name a host |
| other answers, or none | failed; a Retry-After, as seconds or a date, is observed up to an hour |
"""

from collections.abc import Sequence
from enum import Enum
from typing import Final, NamedTuple

from protocols.headers import Header
from protocols.provider_response import retry_after_s

RETRY_S: Final = (5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0)
"""Delays after the first failures of a message; the last one repeats. An endpoint that returns after a long outage
receives its messages within 18 minutes, the last delay and its jitter, unless it asked for a longer one."""
JITTER: Final = 0.2
"""Largest share of a delay that is added to it at random, so that endpoints on one host are not called together."""
RETRY_AFTER_MAX_S: Final = 3_600.0
"""Longest Retry-After that is observed."""
GIVE_UP_S: Final = 3 * 86_400
"""Age of an event in seconds from which it is no longer delivered."""


class Outcome(Enum):
    """The outcome of one attempt; the values are label values of `webhook_deliveries_total`."""

    DELIVERED = "delivered"
    FAILED = "failed"
    DISABLED = "disabled"


class DeliveryAttempt(NamedTuple):
    """The result of one attempt.

    Attributes:
        outcome: the outcome.
        status: the HTTP status; None if there was no answer, or for an endpoint that is no HTTP server.
        error: a text for operators; "" if the message was delivered.
        retry_after_s: the delay that the receiver asked for.
    """

    outcome: Outcome
    status: int | None = None
    error: str = ""
    retry_after_s: float | None = None


DELIVERED: Final = DeliveryAttempt(Outcome.DELIVERED)


def failed(error: str) -> DeliveryAttempt:
    """Return the result of an attempt without an answer."""
    return DeliveryAttempt(Outcome.FAILED, error=error)


def judge(status: int, headers: Sequence[Header] = (), now_s: float | None = None) -> DeliveryAttempt:
    """Judge an answer.

    Args:
        status: the HTTP status.
        headers: Retry-After and Date, if the answer has them.
        now_s: epoch seconds, for a Retry-After that is a date in an answer without Date.
    """
    if 200 <= status < 300:
        return DeliveryAttempt(Outcome.DELIVERED, status)
    if status == 410:
        return DeliveryAttempt(
            Outcome.DISABLED, status, "the receiver answered 410: it accepts no further messages"
        )
    if 300 <= status < 400:
        return DeliveryAttempt(
            Outcome.FAILED, status, f"the receiver answered {status}: redirects are not followed"
        )
    wanted_s = retry_after_s(headers, now_s)
    return DeliveryAttempt(Outcome.FAILED, status, f"the receiver answered {status}", wanted_s)


def delay_s(failures: int, noise: float, retry_after_s: float | None = None) -> float:
    """Seconds until the next attempt.

    Args:
        failures: failed attempts of this message so far, at least 1.
        noise: a random number from 0 to 1.
        retry_after_s: the delay that the receiver asked for.
    """
    planned_s = RETRY_S[min(failures, len(RETRY_S)) - 1] * (1 + JITTER * noise)
    return max(planned_s, min(retry_after_s or 0.0, RETRY_AFTER_MAX_S))
