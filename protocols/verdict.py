"""What became of one send, in the same words for every provider.

Three verdicts come from a provider's answer: accepted, rejected for good, later. The fourth, unknown, is our
own: the send was given to a connection and no answer came by its deadline, or the connection was lost.
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
    """What the lane must do before it sends again."""

    NONE = "none"
    REFRESH = (
        "renew"  # make a new provider token (JWT, OAuth), and try once more with whatever token there is
    )
    REISSUE = "reissue"  # the same where another clock gives another token; where none does, as HALT
    RECONNECT = "reconnect"  # retire this connection
    HALT = "halt"  # the credential cannot work: open the breaker, alarm
    THROTTLE = "throttle"  # the credential sends too much: no lane request before `delay_s` has passed


class Verdict(NamedTuple):
    """One answer, judged.

    Attributes:
        kind: accepted, rejected, later or unknown.
        reason: the provider's own name of the reason ("Unregistered", "QUOTA_EXCEEDED"), or ours.
        delay_s: for `later`, what the provider asked for (Retry-After); None: the retry policy decides.
        dead: the answer says that the device token itself is dead.
        host_specific: the answer is about this host and topic alone: another environment of the provider may take what
            this one refused.
        dead_since_ms: since when (APNs 410 timestamp, epoch ms), if the provider says so.
        remedy: what the lane must do.
        retry_at_once: retry at once, one time only (a renewed token).
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
