"""Outcome of one delivery attempt, in the same terms for every provider.

Three verdicts come from a provider's response: accepted, rejected, retry later. The fourth, unknown, is the
gateway's own: the request was passed to a connection and no response arrived by its deadline, or the connection was
lost.
"""

from enum import Enum, IntEnum
from typing import NamedTuple


class VerdictKind(IntEnum):
    """The four verdicts. The numbers are stored in Redis and never change."""

    ACCEPTED = 0
    REJECTED = 1
    LATER = 2
    UNKNOWN = 3


class Remedy(Enum):
    """The action of the lane before its next delivery."""

    NONE = "none"
    # make a new provider token (JWT, OAuth), and try once more with whatever token there is
    REFRESH = "refresh"
    REISSUE = "reissue"  # the same if another clock gives another token; otherwise as HALT
    RECONNECT = "reconnect"  # retire this connection
    HALT = "halt"  # the credential cannot work: open the breaker, alarm
    THROTTLE = "throttle"  # the credential sends too much: no lane request before `delay_s` has passed


class Verdict(NamedTuple):
    """The verdict about one response.

    Attributes:
        kind: accepted, rejected, later or unknown.
        reason: the provider's own name of the reason ("Unregistered", "QUOTA_EXCEEDED"), or the gateway's.
        delay_s: for `later`, the delay that the provider requested (Retry-After); None: the retry policy decides.
        dead: whether the push token itself is dead.
        host_specific: whether the response concerns this host and topic alone: another environment of the provider
            may accept the token or credential.
        dead_since_ms: since when (APNs 410 timestamp, epoch ms), if the provider reports it.
        remedy: the action of the lane.
        retry_at_once: whether to retry immediately, one time only (a refreshed token).
    """

    kind: VerdictKind
    reason: str = ""
    delay_s: float | None = None
    dead: bool = False
    dead_since_ms: int | None = None
    remedy: Remedy = Remedy.NONE
    retry_at_once: bool = False
    host_specific: bool = False


ACCEPTED = Verdict(VerdictKind.ACCEPTED)
