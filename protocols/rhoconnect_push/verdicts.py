"""Verdicts about the responses of the RhoConnect Push service (contract §9). Their bodies are empty.

RhoConnect treated every status but 400 as success; here each has its verdict (contract §10).
"""

from collections.abc import Sequence
from typing import Final

from protocols.headers import Header
from protocols.provider_response import retry_after_s
from protocols.verdict import ACCEPTED, Remedy, Verdict, VerdictKind

NOT_REGISTERED: Final = "NotRegistered"

STATUSES: Final[dict[int, Verdict]] = {
    200: ACCEPTED,
    204: ACCEPTED,
    400: Verdict(VerdictKind.REJECTED, "InvalidRequest"),
    # Wrong credentials of the app, or a token of another app; the response does not distinguish them.
    401: Verdict(VerdictKind.LATER, "Unauthorized"),
    403: Verdict(VerdictKind.REJECTED, "Forbidden"),  # the path does not exist at the service
    404: Verdict(VerdictKind.REJECTED, NOT_REGISTERED, dead=True),
    410: Verdict(VerdictKind.REJECTED, NOT_REGISTERED, dead=True),
    408: Verdict(VerdictKind.LATER, "HTTP 408"),  # RFC 9110 §15.5.9: the request came too slowly
    413: Verdict(VerdictKind.REJECTED, "PayloadTooLarge"),
    421: Verdict(
        VerdictKind.LATER, "HTTP 421"
    ),  # RFC 9110 §15.5.20: another connection may reach the service
    # The service limits the gateway, not one device.
    429: Verdict(VerdictKind.LATER, "TooManyRequests", remedy=Remedy.THROTTLE),
}


def judge(status: int, headers: Sequence[Header], body: bytes, now_s: float | None = None) -> Verdict:
    """Judge a response of the push service.

    Args:
        status: HTTP status.
        headers: the response's headers, names in lower case.
        body: ignored.
        now_s: epoch seconds, for a Retry-After that is a date; without it such a date is ignored.
    """
    verdict = STATUSES.get(status)
    if verdict is None:
        kind = VerdictKind.REJECTED if 400 <= status < 500 else VerdictKind.LATER
        verdict = Verdict(kind, f"HTTP {status}")
    if verdict.kind is VerdictKind.LATER:
        return verdict._replace(delay_s=retry_after_s(headers, now_s))
    return verdict
