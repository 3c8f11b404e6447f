"""Rules of a simulated FCM HTTP v1: access tokens, messages, quota and Google's errors, without any I/O.

Sources: Google, "Send a message using FCM HTTP v1 API", REST reference of `projects.messages` and `ErrorCode`
(CODES), "Throttling and quotas" (QUOTA), the `google.rpc` error model (AIP-193). Where Google does not define a
response, the comment names the choice of this simulator.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs

import orjson

from protocols.fcm.simulated_google import GoogleEndpoints, gives_tokens
from protocols.fcm.simulated_schema import TARGETS, Violation, plain, violations
from protocols.fcm.simulated_token import AccessTokens, Account, TokenAnswer
from protocols.headers import Header
from protocols.numbers import whole
from protocols.simulation.faults import Fault, FaultAction, FaultTable
from protocols.simulation.record import (
    SimulatedAnswer,
    SimulatedRecord,
    Summary,
    readable,
    source_names,
    text_of,
    time_in_id,
)

__all__ = [
    "OAUTH_PATH",
    "REASONS",
    "AccessTokens",
    "Account",
    "FcmOptions",
    "FcmRules",
    "FcmSession",
]

OAUTH_PATH: Final = "/token"
"""Path of the simulator's OAuth token endpoint (Google's is on a host of its own)."""


class Reason(NamedTuple):
    """One row of CODES.

    Attributes:
        status: HTTP status.
        name: canonical status name of the error.
        message: Google's or a similar text.
        detail: the error's detail: "fcm" (FcmError with the reason's name), "auth:REASON" (ErrorInfo), "".
    """

    status: int
    name: str
    message: str
    detail: str


REASONS: Final[dict[str, Reason]] = {
    # CODES
    "UNSPECIFIED_ERROR": Reason(500, "UNKNOWN", "No more information is available about this error.", "fcm"),
    "INVALID_ARGUMENT": Reason(400, "INVALID_ARGUMENT", "Request contains an invalid argument.", "fcm"),
    "UNREGISTERED": Reason(404, "NOT_FOUND", "Requested entity was not found.", "fcm"),
    "SENDER_ID_MISMATCH": Reason(403, "PERMISSION_DENIED", "SenderId mismatch", "fcm"),
    "QUOTA_EXCEEDED": Reason(429, "RESOURCE_EXHAUSTED", "Quota exceeded for quota metric.", "fcm"),
    "UNAVAILABLE": Reason(503, "UNAVAILABLE", "The service is currently unavailable.", "fcm"),
    "INTERNAL": Reason(500, "INTERNAL", "Internal error encountered.", "fcm"),
    "THIRD_PARTY_AUTH_ERROR": Reason(
        401, "UNAUTHENTICATED", "Auth error from APNS or Web Push Service", "fcm"
    ),
    # AIP-193: errors of the API itself, without an FcmError
    "BadRegistrationToken": Reason(
        400, "INVALID_ARGUMENT", "The registration token is not a valid FCM registration token", "fcm"
    ),
    "BadInstallationId": Reason(
        400, "INVALID_ARGUMENT", "The fid is not a valid Firebase installation ID", "fcm"
    ),
    "InvalidMessage": Reason(400, "INVALID_ARGUMENT", "Invalid JSON payload received.", ""),
    "AccessTokenExpired": Reason(
        401,
        "UNAUTHENTICATED",
        "Request had invalid authentication credentials. Expected OAuth 2 access token.",
        "auth:ACCESS_TOKEN_EXPIRED",
    ),
    "CredentialsMissing": Reason(
        401,
        "UNAUTHENTICATED",
        "Request is missing required authentication credential. Expected OAuth 2 access token.",
        "auth:CREDENTIALS_MISSING",
    ),
    "PermissionDenied": Reason(
        403,
        "PERMISSION_DENIED",
        "Permission 'cloudmessaging.messages.create' denied on resource (or it may not exist).",
        "auth:IAM_PERMISSION_DENIED",
    ),
    "NotFound": Reason(404, "NOT_FOUND", "The requested URL was not found on this server.", ""),
    "MethodNotAllowed": Reason(405, "UNIMPLEMENTED", "The request method is inappropriate for the URL.", ""),
}

ANSWERS: Final[dict[str, str]] = {
    **{reason: reason for reason in REASONS},
    "400": "INVALID_ARGUMENT",
    "401": "AccessTokenExpired",
    "403": "SENDER_ID_MISMATCH",
    "404": "UNREGISTERED",
    "410": "UNREGISTERED",  # APNs' status for the same reason
    "429": "QUOTA_EXCEEDED",
    "500": "INTERNAL",
    "503": "UNAVAILABLE",
    "expired": "AccessTokenExpired",
}
"""The words of the fault language that stand for responses."""

_WIRE_CODE: Final = {"BadRegistrationToken": "INVALID_ARGUMENT", "BadInstallationId": "INVALID_ARGUMENT"}

_JSON: Final[tuple[Header, ...]] = ((b"content-type", b"application/json; charset=UTF-8"),)
_TYPE: Final = "type.googleapis.com/"
_SEND = re.compile(r"/v1/projects/([^/]+)/messages:send")
_INSTALLATION = re.compile(r"[cdef][A-Za-z0-9_-]{10}(?:[A-Za-z0-9_-]{11})?")  # `protocols.fcm.registration`
_REGISTRATION = re.compile(r"[\x21-\x7e]{1,4096}")
"""Google documents no form; blanks and control characters never occur in a token."""


@dataclass(frozen=True, slots=True)
class FcmOptions:
    """Behaviour of a simulated FCM.

    Attributes:
        streams: SETTINGS_MAX_CONCURRENT_STREAMS (Google's front ends say 100).
        token_life_s: lifetime of an access token.
        per_minute: messages a minute for the whole simulator, a token bucket (QUOTA); None: no quota.
        retry_after_s: Retry-After of a quota response.
        faults: scripted faults, as `protocols.simulation.faults` parses them.
    """

    streams: int = 100
    token_life_s: int = 3600
    per_minute: int | None = None
    retry_after_s: int = 60
    faults: Sequence[str] = ()


class FcmRules:
    """One simulated FCM, with its token endpoint.

    Args:
        accounts: the accepted service accounts.
        secret: random bytes for access tokens.
        options: its behaviour.
    """

    def __init__(self, accounts: Iterable[Account], secret: bytes, options: FcmOptions | None = None) -> None:
        self.options = options or FcmOptions()
        self.tokens = AccessTokens(accounts, secret=secret, life_s=self.options.token_life_s)
        self.google = GoogleEndpoints(self.tokens)
        self.faults = FaultTable(ANSWERS, self.options.faults)
        per_minute = self.options.per_minute
        self._quota = _Quota(per_minute) if per_minute is not None else None
        self._sessions = 0
        self._sent = 0

    def add(self, account: Account) -> None:
        """Register a service account, and with it its project."""
        self.tokens.add(account)

    def session(self) -> "FcmSession":
        """Start a new connection."""
        self._sessions += 1
        return FcmSession(self, self._sessions)

    def over_quota(self, now_s: float) -> bool:
        """Count one message, and return whether it exceeds the quota."""
        return self._quota is not None and not self._quota.take(now_s)

    def next_id(self, now_s: float) -> str:
        """The id of the next accepted message."""
        self._sent += 1
        return f"0:{int(now_s * 1_000_000)}%{self._sent:016x}"


class FcmSession:
    """One connection.

    Attributes:
        number: sequence number of the connection, from 1.
        stream_limit: the SETTINGS_MAX_CONCURRENT_STREAMS to announce now; to be read after each response.
        goodbye: never set by FCM's rules; as in `ApnsSession`.
    """

    goodbye: str = ""

    def __init__(self, rules: FcmRules, number: int) -> None:
        self.rules = rules
        self.number = number
        self.stream_limit = rules.options.streams

    def answer(self, headers: Sequence[Header], body: bytes, now_s: float) -> SimulatedAnswer:
        """Judge one complete request, as received (pseudo-headers included).

        A scripted fault only affects a message that would have been accepted, and never an endpoint for tokens.
        """
        token = self._token(headers, body, now_s)
        if token is not None:
            return SimulatedAnswer(FaultAction.SEND, token.status, _JSON, token.body, None)
        request = _FcmRequest(self, headers, body, now_s)
        reason, wrong = request.verdict()
        fault = None if reason else self.rules.faults.next_fault(request.token)
        if fault is None:
            wait = self.rules.options.retry_after_s if reason == "QUOTA_EXCEEDED" else None
            return self._send(request, reason, wrong, wait)
        if fault.action is FaultAction.SEND:
            return self._send(request, fault.reason, (), fault.number)
        if fault.action is FaultAction.DELAY:
            return self._send(request, "")._replace(action=FaultAction.DELAY, argument=fault.argument)
        if fault.action is FaultAction.LIMIT:
            answer = self._send(request, "")
            self.stream_limit = fault.number or 0
            return answer
        return _unanswered(request, fault)

    def _token(self, headers: Sequence[Header], body: bytes, now_s: float) -> TokenAnswer | None:
        """The response of the endpoint that issues access tokens; None: the request is for FCM itself."""
        path = next((value for name, value in headers if name == b":path"), b"").decode("latin-1")
        if path == OAUTH_PATH:
            form = parse_qs(body.decode("latin-1"))
            if form.get("grant_type") == ["refresh_token"]:
                return self.rules.google.refresh(form, now_s)
            return self.rules.tokens.exchange(body, now_s)
        if not gives_tokens(path):
            return None
        plain = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
        return self.rules.google.answer(path, plain, body, now_s)

    def _send(
        self, request: "_FcmRequest", reason: str, wrong: Sequence[Violation] = (), wait_s: int | None = None
    ) -> SimulatedAnswer:
        headers = list(_JSON)
        if not reason:
            last = "fake_message_id" if request.validate_only else self.rules.next_id(request.now_s)
            name = {"name": f"projects/{request.project}/messages/{last}"}
            return SimulatedAnswer(
                FaultAction.SEND, 200, headers, orjson.dumps(name), request.record(200, "")
            )
        row = REASONS[reason]
        if row.status == 401:
            headers.append((b"www-authenticate", b'Bearer realm="https://accounts.google.com/"'))
        if wait_s is not None:
            headers.append((b"retry-after", str(wait_s).encode()))
        return SimulatedAnswer(
            FaultAction.SEND, row.status, headers, explain(reason, wrong), request.record(row.status, reason)
        )


class _FcmRequest:
    """One request under judgement."""

    def __init__(self, session: FcmSession, headers: Sequence[Header], body: bytes, now_s: float) -> None:
        self.session = session
        self.now_s = now_s
        self.headers = {name.decode("latin-1"): value.decode("utf-8", "replace") for name, value in headers}
        path = _SEND.fullmatch(self.headers.get(":path", "").partition("?")[0])
        self.project = path.group(1) if path else ""
        self.payload = _parse(body)
        message = self.payload.get("message") if isinstance(self.payload, dict) else None
        self.message: dict[str, Any] = message if isinstance(message, dict) else {}
        self.token = _target(self.message)

    @property
    def validate_only(self) -> bool:
        return self.payload.get("validate_only") is True

    def verdict(self) -> tuple[str, Sequence[Violation]]:
        """The reason to refuse, or "", with the violations in the message."""
        if reason := self._route_fault() or self._bearer():
            return reason, ()
        if wrong := violations(self.payload):
            return ("InvalidMessage" if wrong[0].parsing else "INVALID_ARGUMENT"), wrong
        if self.message.get("token") and not _REGISTRATION.fullmatch(self.token):
            return "BadRegistrationToken", ()
        if self.message.get("fid") and not _INSTALLATION.fullmatch(self.token):
            return "BadInstallationId", ()
        return ("QUOTA_EXCEEDED" if self.session.rules.over_quota(self.now_s) else ""), ()

    def _route_fault(self) -> str:
        if not self.project:
            return "NotFound"
        return "" if self.headers.get(":method") == "POST" else "MethodNotAllowed"

    def _bearer(self) -> str:
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            return "CredentialsMissing"
        grant = self.session.rules.tokens.find(token, self.now_s)
        if grant is None:
            return "AccessTokenExpired"
        # Google does not reveal to a caller without permissions whether the project exists
        return "" if grant.project_id == self.project else "PermissionDenied"

    def record(self, status: int, reason: str) -> SimulatedRecord:
        return SimulatedRecord(
            at_s=self.now_s,
            provider="fcm",
            connection=self.session.number,
            token=self.token,
            topic=self.project,
            status=status,
            reason=reason,
            headers=readable(self.headers),
            payload=self.payload,
            notes=("validate_only: not sent",) if status == 200 and self.validate_only else (),
            summary=_summary(self.message),
            accepted_ms=_accepted_ms(self.message),
        )


class _Quota:
    """A token bucket that holds one minute's messages (QUOTA)."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._left = float(per_minute)
        self._at_s = 0.0

    def take(self, now_s: float) -> bool:
        gained = (now_s - self._at_s) * self._per_minute / 60
        self._left = min(float(self._per_minute), self._left + gained)
        self._at_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True


def explain(reason: str, wrong: Sequence[Violation] = ()) -> bytes:
    """The JSON error of a reason (AIP-193): code, message, canonical status and details."""
    row = REASONS[reason]
    details: list[dict[str, Any]] = []
    if row.detail == "fcm":
        code = _WIRE_CODE.get(reason, reason)
        details.append({"@type": _TYPE + "google.firebase.fcm.v1.FcmError", "errorCode": code})
    elif row.detail:
        info = {"reason": row.detail.removeprefix("auth:"), "domain": "googleapis.com"}
        details.append({"@type": _TYPE + "google.rpc.ErrorInfo", **info})
    if wrong:
        fields = [{"field": item.field, "description": item.description} for item in wrong]
        details.append({"@type": _TYPE + "google.rpc.BadRequest", "fieldViolations": fields})
    if reason == "QUOTA_EXCEEDED":
        quota = {"subject": "project", "description": "Messages sent per minute"}
        details.append({"@type": _TYPE + "google.rpc.QuotaFailure", "violations": [quota]})
    message = wrong[0].description if wrong else row.message
    error = {"code": row.status, "message": message, "status": row.name, "details": details}
    return orjson.dumps({"error": error})


def _parse(body: bytes) -> Any:
    try:
        return plain(orjson.loads(body))
    except orjson.JSONDecodeError:
        return None


def _target(message: dict[str, Any]) -> str:
    for name in TARGETS:
        if value := message.get(name):
            text = text_of(value)
            return text if name in ("token", "fid") else f"{name}:{text}"
    return ""


def _summary(message: dict[str, Any]) -> Summary:
    android = _object(message.get("android"))
    data = {**_object(message.get("data")), **_object(android.get("data"))}
    shown = {**_object(message.get("notification")), **_object(android.get("notification"))}
    return Summary(
        alert=data.get("alert", shown.get("body")),
        badge=_badge(data.get("badge"), shown.get("notification_count")),
        sound=data.get("sound", shown.get("sound")),
        vibrate=data.get("vibrate"),
        do_sync=source_names(data.get("do_sync")),
        title=shown.get("title"),
    )


def _accepted_ms(message: dict[str, Any]) -> int | None:
    """The tag of a notification is the ping's id, unless the sender chose another."""
    notification = _object(_object(message.get("android")).get("notification"))
    return time_in_id(text_of(notification.get("tag", "")))


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _badge(*candidates: Any) -> int | None:
    for value in candidates:
        number = whole(value) if isinstance(value, str) else value
        if isinstance(number, int):
            return number
    return None


def _unanswered(request: _FcmRequest, fault: Fault) -> SimulatedAnswer:
    return SimulatedAnswer(fault.action, 0, (), b"", request.record(0, fault.action.value), fault.argument)
