"""Verdicts about FCM's responses: Google's table of error codes as data.

Google: "FCM error codes", "Scale FCM", "Throttling and quotas". The code of an error is that of its FcmError detail;
an error without it comes from the API in front of FCM, and contains no information about a device.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from protocols.headers import Header
from protocols.provider_response import reason_or_status, retry_after_s
from protocols.verdict import ACCEPTED, Remedy, Verdict, VerdictKind

QUOTA_DELAY_S: Final = 60.0
"""Delay without Retry-After: a minute ("Scale FCM")."""

_REJECTED: Final = Verdict(VerdictKind.REJECTED)
_LATER: Final = Verdict(VerdictKind.LATER)
_DEAD: Final = Verdict(VerdictKind.REJECTED, dead=True)
_HALTED: Final = Verdict(VerdictKind.LATER, remedy=Remedy.HALT)
_MOVED: Final = Verdict(VerdictKind.LATER, remedy=Remedy.RECONNECT, retry_at_once=True)
# The quota of the whole project is used up: its lane pauses ("Scale FCM").
_OVER_QUOTA: Final = Verdict(VerdictKind.LATER, delay_s=QUOTA_DELAY_S, remedy=Remedy.THROTTLE)
_REFRESHED: Final = Verdict(VerdictKind.LATER, remedy=Remedy.REFRESH, retry_at_once=True)

# errorCode of FcmError -> verdict, whatever the status.
REASONS: Final[dict[str, Verdict]] = {
    "INVALID_ARGUMENT": _REJECTED,  # an error of the payload, unless `_is_token` attributes it to the token
    "THIRD_PARTY_AUTH_ERROR": _LATER,  # the APNs key in Firebase is wrong: Android is not affected
    # the token belongs to another project: it is valid, but not for this sender
    "SENDER_ID_MISMATCH": _REJECTED,
    "UNREGISTERED": _DEAD,
    "QUOTA_EXCEEDED": _OVER_QUOTA,
    "INTERNAL": _LATER,
    "UNAVAILABLE": _LATER,
}
_KNOWN: Final = {reason: verdict._replace(reason=reason) for reason, verdict in REASONS.items()}

RPC_CODES: Final = frozenset(
    {
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "UNAUTHENTICATED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
    }
)
"""`google.rpc.Code`: the names of an error without an FcmError, of the API in front of FCM."""

# UNSPECIFIED_ERROR, an unknown code, or no FcmError at all: by HTTP status, else by its class.
BY_STATUS: Final[dict[int, Verdict]] = {
    400: _REJECTED,
    401: _REFRESHED,
    403: _HALTED,  # the API is not enabled, or the account may not use it
    404: _HALTED,  # the project does not exist, or the address is wrong
    408: _LATER,
    421: _MOVED,  # RFC 9110 §15.5.20: not over this connection
    429: _OVER_QUOTA,
}
_BY_CLASS: Final[dict[int, Verdict]] = {2: ACCEPTED, 4: _REJECTED}

_FCM_ERROR: Final = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
_BAD_REQUEST: Final = "type.googleapis.com/google.rpc.BadRequest"
_TOKEN_FIELDS: Final = frozenset({"message.token", "token", "message.fid", "fid"})
_WRONG_DEVICE: Final = "not a valid FCM registration token"


class _Error(msgspec.Struct, frozen=True):
    """`google.rpc.Status` as JSON. Its fields may have any type."""

    message: Any = None
    status: Any = None
    details: Any = None


class _FcmBody(msgspec.Struct, frozen=True):
    error: _Error = _Error()


_decode: Final = msgspec.json.Decoder(_FcmBody).decode
_NO_ERROR: Final = _Error()


def judge(status: int, headers: Sequence[Header], body: bytes, now_s: float | None = None) -> Verdict:
    """Judge a response of FCM. Never raises, whatever the body contains.

    Args:
        status: HTTP status.
        headers: the response's headers, names in lower case.
        body: with an error, JSON `{"error": {code, message, status, details}}`.
        now_s: epoch seconds, for a Retry-After that is a date; without it such a date is ignored.
    """
    if status == 200:
        return ACCEPTED
    error = _read(body)
    details = [detail for detail in _list(error.details) if type(detail) is dict]
    code = next((detail.get("errorCode") for detail in details if detail.get("@type") == _FCM_ERROR), None)
    verdict = _KNOWN.get(code) if type(code) is str else None
    if verdict is None:
        by_class = _BY_CLASS.get(status // 100, _LATER)
        reason = reason_or_status(code or error.status, status)
        verdict = BY_STATUS.get(status, by_class)._replace(reason=reason)
    elif code == "INVALID_ARGUMENT" and _is_token(error, details):
        return verdict._replace(dead=True)
    if verdict.kind is not VerdictKind.LATER or verdict.retry_at_once:
        return verdict
    asked_s = retry_after_s(headers, now_s)
    return verdict if asked_s is None else verdict._replace(delay_s=asked_s)


def _is_token(error: _Error, details: Sequence[dict[Any, Any]]) -> bool:
    """Whether an invalid argument is the token: FCM reports it by the field, or only in the text.

    Any other field means that the payload is wrong, and then the token may be valid.
    """
    fields = {
        str(violation.get("field"))
        for detail in details
        if detail.get("@type") == _BAD_REQUEST
        for violation in _list(detail.get("fieldViolations"))
        if type(violation) is dict
    }
    if fields:
        return fields <= _TOKEN_FIELDS
    return type(error.message) is str and _WRONG_DEVICE in error.message


def _list(value: Any) -> list[Any]:
    return value if type(value) is list else []


def _read(body: bytes) -> _Error:
    if not body:
        return _NO_ERROR
    try:
        return _decode(body).error
    except (ValueError, RecursionError):
        return _NO_ERROR
