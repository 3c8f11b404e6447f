"""Verdicts about APNs' responses: Apple's table of reasons as data.

Apple: "Handling notification responses from APNs", "Handling error responses from APNs". Apple advises to treat an
unknown reason by its status: that is `_BY_CLASS`. 5XX is retried after the setting `retry.apns_5xx_s` (Apple says 15
minutes), unless Retry-After says otherwise.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from protocols.headers import Header
from protocols.numbers import INT64_MAX
from protocols.provider_response import reason_or_status, retry_after_s
from protocols.verdict import ACCEPTED, Remedy, Verdict, VerdictKind

_REJECTED: Final = Verdict(VerdictKind.REJECTED)
_LATER: Final = Verdict(VerdictKind.LATER)
# The push token itself is dead, not only wrong for this request.
_DEAD: Final = Verdict(VerdictKind.REJECTED, dead=True)
# Providers A7, BadDeviceToken: also a token of the other environment, so the verdict is limited to this host and
# topic.
_BAD_HERE: Final = Verdict(VerdictKind.REJECTED, dead=True, host_specific=True)
# The credential cannot work until an operator corrects it; the notification is kept until its time to live ends.
_HALTED: Final = Verdict(VerdictKind.LATER, remedy=Remedy.HALT)
# A key or certificate of the other environment: as before, but the other host may accept it.
_HALTED_HERE: Final = Verdict(VerdictKind.LATER, remedy=Remedy.HALT, host_specific=True)
# Retried immediately, with another provider token if there is one; if refused again, as `_HALTED`.
_REFRESHED: Final = Verdict(VerdictKind.LATER, remedy=Remedy.REFRESH, retry_at_once=True)
# The same, but only if there is another token: the key may be revoked.
_REISSUED: Final = Verdict(VerdictKind.LATER, remedy=Remedy.REISSUE, retry_at_once=True)
# The connection causes the error, not the notification: retried immediately on a new connection.
_MOVED: Final = Verdict(VerdictKind.LATER, remedy=Remedy.RECONNECT, retry_at_once=True)

# reason -> verdict. Every reason that Apple documents for `/3/device`, with its status.
REASONS: Final[dict[tuple[int, str], Verdict]] = {
    (400, "BadCollapseId"): _REJECTED,
    (400, "BadDeviceToken"): _BAD_HERE,
    (400, "BadExpirationDate"): _REJECTED,
    (400, "BadMessageId"): _REJECTED,
    (400, "BadPriority"): _REJECTED,
    (400, "BadTopic"): _REJECTED,
    (400, "DeviceTokenNotForTopic"): _REJECTED,  # the app's topic is set wrongly: the token is still valid
    (400, "DuplicateHeaders"): _REJECTED,
    (400, "IdleTimeout"): _MOVED,
    (400, "InvalidPushType"): _REJECTED,
    (400, "MissingDeviceToken"): _REJECTED,
    (400, "MissingTopic"): _REJECTED,
    (400, "PayloadEmpty"): _REJECTED,
    (400, "TopicDisallowed"): _REJECTED,
    (403, "BadCertificate"): _HALTED,
    (403, "BadCertificateEnvironment"): _HALTED_HERE,
    (403, "BadEnvironmentKeyIdInToken"): _HALTED_HERE,
    (403, "BadEnvironmentKeyInToken"): _HALTED_HERE,  # the same reason, as it appears on the wire
    (403, "ExpiredProviderToken"): _REFRESHED,
    (403, "Forbidden"): _REJECTED,
    (403, "InvalidProviderToken"): _REISSUED,  # also a token of the future: the clock was wrong
    (403, "MissingProviderToken"): _HALTED,
    (403, "UnrelatedKeyIdInToken"): _MOVED,
    (404, "BadPath"): _REJECTED,
    (405, "MethodNotAllowed"): _REJECTED,
    (410, "ExpiredToken"): _DEAD,
    (410, "Unregistered"): _DEAD,
    (413, "PayloadTooLarge"): _REJECTED,
    # The rule applies to each connection, and this connection is useless for a while.
    (429, "TooManyProviderTokenUpdates"): Verdict(VerdictKind.LATER, remedy=Remedy.RECONNECT),
    (429, "TooManyRequests"): _LATER,  # too many notifications to this one device
    (500, "InternalServerError"): _LATER,
    (503, "ServiceUnavailable"): _LATER,
    (503, "Shutdown"): Verdict(VerdictKind.LATER, remedy=Remedy.RECONNECT),
}
_KNOWN: Final = {key: verdict._replace(reason=key[1]) for key, verdict in REASONS.items()}

# An unknown or missing reason: by status, else by its class.
_BY_STATUS: Final[dict[int, Verdict]] = {
    403: _HALTED,
    408: _LATER,
    410: _DEAD,
    421: _MOVED,  # RFC 9110 §15.5.20: not over this connection
    429: _LATER,
}
_BY_CLASS: Final[dict[int, Verdict]] = {2: ACCEPTED, 4: _REJECTED}


class _ApnsBody(msgspec.Struct, frozen=True):
    """Apple's explanation. Its fields may have any type."""

    reason: Any = None
    timestamp: Any = None


_decode: Final = msgspec.json.Decoder(_ApnsBody).decode
_NO_BODY: Final = _ApnsBody()


def judge(status: int, headers: Sequence[Header], body: bytes, now_s: float | None = None) -> Verdict:
    """Judge a response of APNs. Never raises, whatever the body contains.

    Args:
        status: HTTP status.
        headers: the response's headers, names in lower case.
        body: empty with 200; else JSON with `reason`, and with 410 `timestamp` in milliseconds.
        now_s: epoch seconds, for a Retry-After that is a date; without it such a date is ignored.
    """
    if status == 200:
        return ACCEPTED
    answer = _read(body)
    reason = reason_or_status(answer.reason, status)
    verdict = _KNOWN.get((status, reason))
    if verdict is None:
        # A status that is neither success nor the request's error (1XX, 3XX, 5XX) may be temporary.
        by_class = _BY_CLASS.get(status // 100, _LATER)
        verdict = _BY_STATUS.get(status, by_class)._replace(reason=reason)
    if verdict.kind is VerdictKind.LATER and not verdict.retry_at_once:
        return verdict._replace(delay_s=retry_after_s(headers, now_s))
    if status == 410 and type(answer.timestamp) is int and 0 < answer.timestamp <= INT64_MAX:
        return verdict._replace(dead_since_ms=answer.timestamp)
    return verdict


def _read(body: bytes) -> _ApnsBody:
    if not body:
        return _NO_BODY
    try:
        return _decode(body)
    except (ValueError, RecursionError):
        return _NO_BODY
