"""Rules of a simulated APNs: Apple's documentation of requests, tokens, limits and responses, without any I/O.

`ApnsRules` is one server; `ApnsSession` is one connection to it, since Apple binds a connection to a team, checks
how often its provider token changes, and permits one stream until a request with a valid token was posted.

Sources are Apple's pages "Sending notification requests to APNs" (SEND), "Handling notification responses from APNs"
(RESP), "Establishing a token-based connection" (TOKEN) and "Establishing a certificate-based connection" (CERT).
Where Apple does not define a response, the comment names the choice of this simulator: always the strict one.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from protocols.apns.simulated_token import MAX_AGE_S, SigningKey, TokenCheck
from protocols.headers import Header
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

__all__ = ["MAX_AGE_S", "REASONS", "ApnsOptions", "ApnsRules", "ApnsSession", "SigningKey"]

REASONS: Final[dict[str, int]] = {
    # RESP, "Understand error codes"
    "BadCollapseId": 400,
    "BadDeviceToken": 400,
    "BadExpirationDate": 400,
    "BadMessageId": 400,
    "BadPriority": 400,
    "BadTopic": 400,
    "DeviceTokenNotForTopic": 400,
    "DuplicateHeaders": 400,
    "IdleTimeout": 400,
    "InvalidPushType": 400,
    "MissingDeviceToken": 400,
    "MissingTopic": 400,
    "PayloadEmpty": 400,
    "TopicDisallowed": 400,
    "BadCertificate": 403,
    "BadCertificateEnvironment": 403,
    "BadEnvironmentKeyIdInToken": 403,
    "ExpiredProviderToken": 403,
    "Forbidden": 403,
    "InvalidProviderToken": 403,
    "MissingProviderToken": 403,
    "UnrelatedKeyIdInToken": 403,
    "BadPath": 404,
    "MethodNotAllowed": 405,
    "ExpiredToken": 410,
    "Unregistered": 410,
    "PayloadTooLarge": 413,
    "TooManyProviderTokenUpdates": 429,
    "TooManyRequests": 429,
    "InternalServerError": 500,
    "ServiceUnavailable": 503,
    "Shutdown": 503,
}

ANSWERS: Final[dict[str, str]] = {
    **{reason: reason for reason in REASONS},
    "400": "BadDeviceToken",
    "403": "InvalidProviderToken",
    "404": "BadPath",
    "405": "MethodNotAllowed",
    "410": "Unregistered",
    "413": "PayloadTooLarge",
    "429": "TooManyRequests",
    "500": "InternalServerError",
    "503": "ServiceUnavailable",
    "expired": "ExpiredProviderToken",
}
"""The words of the fault language that stand for responses."""

TOPIC_SUFFIX: Final[dict[str, str]] = {
    # SEND, table of apns-push-type
    "alert": "",
    "background": "",
    "location": ".location-query",
    "voip": ".voip",
    "complication": ".complication",
    "fileprovider": ".pushkit.fileprovider",
    "mdm": "",
    "liveactivity": ".push-type.liveactivity",
    "pushtotalk": ".voip-ptt",
    "widgets": ".push-type.widgets",
    "controls": ".push-type.controls",
}

PAYLOAD_MAX: Final = 4096
"""Longest payload in bytes (SEND)."""

VOIP_PAYLOAD_MAX: Final = 5120
"""Longest Voice over IP payload in bytes (SEND)."""

COLLAPSE_ID_MAX: Final = 64
"""Longest apns-collapse-id in bytes (SEND)."""

APS_KEYS: Final = frozenset(
    {
        *("alert", "badge", "sound", "thread-id", "category", "content-available", "mutable-content"),
        *("target-content-id", "interruption-level", "relevance-score", "filter-criteria", "url-args"),
        *("timestamp", "event", "content-state", "stale-date", "dismissal-date"),
        *("attributes-type", "attributes"),
    }
)
"""Apple's keys of `aps`; others are accepted and ignored ("Generating a remote notification")."""

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,255}")
_PIN = re.compile(r"(?:[0-9A-Fa-f]{2}){1,256}")
_PATH = "/3/device/"
_SECONDS_MAX = 2**32 - 1
"""UNIX seconds; a larger value is a time in milliseconds, a likely mistake."""

_ACCEPTED: Final = 200


@dataclass(frozen=True, slots=True)
class ApnsOptions:
    """Behaviour of a simulated APNs.

    Attributes:
        streams: SETTINGS_MAX_CONCURRENT_STREAMS of an authenticated connection (Apple's own is about 1000).
        environment: "production" or "sandbox"; the latter adds apns-unique-id (RESP).
        topics: lower-case device token -> its only topic; other tokens match any topic.
        environments: lower-case device token -> its only environment; BadDeviceToken in the other (RESP). Other
            tokens are valid in both.
        errors_max: number of 4XX responses, except 410, after which the connection is closed; at half of it the
            stream limit is halved. Apple does both without documenting the number (SEND); None: never.
        faults: scripted faults, as `protocols.simulation.faults` parses them.
    """

    streams: int = 1000
    environment: str = "production"
    topics: Mapping[str, str] = field(default_factory=dict)
    environments: Mapping[str, str] = field(default_factory=dict)
    errors_max: int | None = None
    faults: Sequence[str] = ()


class ApnsRules:
    """One simulated APNs server.

    Args:
        keys: the accepted signing keys of provider tokens.
        new_id: returns a new canonical UUID for a request without apns-id.
        options: its behaviour.
    """

    def __init__(
        self, keys: Iterable[SigningKey], new_id: Callable[[], str], options: ApnsOptions | None = None
    ) -> None:
        self.options = options or ApnsOptions()
        self.tokens = TokenCheck(keys, self.options.environment)
        self.new_id = new_id
        self.faults = FaultTable(ANSWERS, self.options.faults)
        self._sessions = 0

    def session(self, certificate_topics: Sequence[str] | None = None) -> "ApnsSession":
        """Start a new connection.

        Args:
            certificate_topics: the topics of the client's TLS certificate; None: no certificate.
        """
        self._sessions += 1
        return ApnsSession(self, self._sessions, certificate_topics)


class ApnsSession:
    """One connection.

    Attributes:
        number: sequence number of the connection, from 1.
        stream_limit: the SETTINGS_MAX_CONCURRENT_STREAMS to announce now; to be read after each response.
        goodbye: a GOAWAY reason once the connection must be closed; "" before.
    """

    def __init__(self, rules: ApnsRules, number: int, certificate_topics: Sequence[str] | None) -> None:
        self.rules = rules
        self.number = number
        self.certificate_topics = certificate_topics
        # TOKEN: one stream until the first request with a valid token; a certificate is verified by TLS already.
        self.stream_limit = 1 if certificate_topics is None else rules.options.streams
        self.goodbye = ""
        self.provider = rules.tokens.connection()
        self._authenticated = certificate_topics is not None
        self._errors = 0

    def answer(self, headers: Sequence[Header], body: bytes, now_s: float) -> SimulatedAnswer:
        """Judge one complete request, as received (pseudo-headers included).

        A scripted fault only affects a request that would have been accepted, so that a client's own mistakes are
        never hidden.
        """
        request = _ApnsRequest(self, headers, body, now_s)
        reason = request.verdict()
        fault = None if reason else self.rules.faults.next_fault(request.token)
        if fault is None:
            return self._send(request, reason)
        if fault.action is FaultAction.SEND:
            return self._send(request, fault.reason, fault.number)
        if fault.action is FaultAction.DELAY:
            return self._send(request, "")._replace(action=FaultAction.DELAY, argument=fault.argument)
        if fault.action is FaultAction.LIMIT:
            answer = self._send(request, "")
            self.stream_limit = fault.number or 0
            return answer
        return _unanswered(request, fault)

    def _send(self, request: "_ApnsRequest", reason: str, argument: int | None = None) -> SimulatedAnswer:
        status = REASONS[reason] if reason else _ACCEPTED
        headers: list[Header] = [(b"apns-id", request.apns_id.encode())]
        body = b""
        if reason:
            headers.append((b"content-type", b"application/json"))
            body = self._explain(request, reason, status, argument)
            if argument is not None and status != 410:
                headers.append((b"retry-after", str(argument).encode()))
        elif self.rules.options.environment == "sandbox":
            headers.append((b"apns-unique-id", self.rules.new_id().encode()))
        self._count(status)
        return SimulatedAnswer(FaultAction.SEND, status, headers, body, request.record(status, reason))

    @staticmethod
    def _explain(request: "_ApnsRequest", reason: str, status: int, argument: int | None) -> bytes:
        explanation: dict[str, str | int] = {"reason": reason}
        if status == 410:
            # RESP: only with 410, in milliseconds: when APNs last confirmed that the token was no longer valid
            explanation["timestamp"] = int(request.now_s * 1000) if argument is None else argument
        return orjson.dumps(explanation)

    def _count(self, status: int) -> None:
        if not self._authenticated and self.provider.authenticated:
            self._authenticated = True
            self.stream_limit = self.rules.options.streams
        if status // 100 != 4 or status == 410 or self.rules.options.errors_max is None:
            return  # RESP: 410 responses do not count as errors
        self._errors += 1
        if self._errors * 2 == self.rules.options.errors_max:
            self.stream_limit = max(1, self.stream_limit // 2)
        if self._errors >= self.rules.options.errors_max:
            self.goodbye = "TooManyErrors"


class _ApnsRequest:
    """One request under judgement. Each check returns the reason for which APNs would refuse, or ""."""

    def __init__(self, session: ApnsSession, headers: Sequence[Header], body: bytes, now_s: float) -> None:
        self.session = session
        self.now_s = now_s
        self.body = body
        self.headers = {name.decode("latin-1"): value.decode("utf-8", "replace") for name, value in headers}
        self.repeats = len(self.headers) != len(headers)
        path = self.headers.get(":path", "")
        self.on_path = path.startswith(_PATH)
        self.token = path[len(_PATH) :] if self.on_path else ""
        self.payload = _parse(body)
        self.push_type = self.headers.get("apns-push-type", "")
        self.topic = self.headers.get("apns-topic", "") or self._only_topic()
        given = self.headers.get("apns-id", "")
        self.apns_id = given if _ID.fullmatch(given) else session.rules.new_id()

    @property
    def aps(self) -> dict[str, Any]:
        aps = self.payload.get("aps") if isinstance(self.payload, dict) else None
        return aps if isinstance(aps, dict) else {}

    def verdict(self) -> str:
        """The first reason to refuse, or ""."""
        for check in _CHECKS:
            if reason := check(self):
                return reason
        return ""

    def record(self, status: int, reason: str) -> SimulatedRecord:
        return SimulatedRecord(
            at_s=self.now_s,
            provider="apns",
            connection=self.session.number,
            token=self.token,
            topic=self.topic,
            status=status,
            reason=reason,
            headers=readable(self.headers),
            payload=self.payload,
            notes=tuple(f"aps.{key} is ignored by the device" for key in self.aps if key not in APS_KEYS),
            summary=_summary(self.payload, self.aps),
            accepted_ms=time_in_id(self.headers.get("apns-id", "")),
        )

    def _only_topic(self) -> str:
        topics = self.session.certificate_topics
        return topics[0] if topics and len(topics) == 1 else ""

    # The checks, in the order of `_CHECKS`.

    def method(self) -> str:
        return "" if self.headers.get(":method") == "POST" else "MethodNotAllowed"

    def path(self) -> str:
        return "" if self.on_path else "BadPath"

    def duplicates(self) -> str:
        return "DuplicateHeaders" if self.repeats else ""

    def message_id(self) -> str:
        given = self.headers.get("apns-id")
        return "" if given is None or _ID.fullmatch(given) else "BadMessageId"

    def provider_token(self) -> str:
        if self.session.certificate_topics is not None:
            return ""  # SEND: authorization is ignored if the TLS certificate has authenticated
        return self.session.provider.verdict(self.headers.get("authorization", ""), self.topic, self.now_s)

    def device_token(self) -> str:
        if not self.token:
            return "MissingDeviceToken"
        options = self.session.rules.options
        theirs = options.environments.get(self.token.lower(), options.environment)
        return "" if _PIN.fullmatch(self.token) and theirs == options.environment else "BadDeviceToken"

    def kind(self) -> str:
        return "" if not self.push_type or self.push_type in TOPIC_SUFFIX else "InvalidPushType"

    def topic_rules(self) -> str:
        if not self.topic:
            return "MissingTopic"
        # SEND gives the topic suffix of each push type, but no reason for a wrong one: BadTopic is this simulator's
        # choice
        if not _TOPIC.fullmatch(self.topic) or not self.topic.endswith(TOPIC_SUFFIX.get(self.push_type, "")):
            return "BadTopic"
        allowed = self.session.certificate_topics
        if allowed is not None and (self.topic not in allowed or self.push_type == "location"):
            return "TopicDisallowed"  # CERT; SEND: location accepts token authentication only
        theirs = self.session.rules.options.topics.get(self.token.lower(), self.topic)
        return "" if theirs == self.topic else "DeviceTokenNotForTopic"

    def priority(self) -> str:
        priority = self.headers.get("apns-priority", "10")  # SEND: 10 if it is missing
        if priority not in ("10", "5", "1"):
            return "BadPriority"
        # SEND: 10 is an error for a background push; push to talk must have 10
        wrong = {"background": priority == "10", "pushtotalk": priority != "10"}.get(self.push_type, False)
        return "BadPriority" if wrong else ""

    def expiration(self) -> str:
        text = self.headers.get("apns-expiration", "0")
        if not (text.isascii() and text.isdigit()) or len(text) > 10 or int(text) > _SECONDS_MAX:
            return "BadExpirationDate"
        return "BadExpirationDate" if self.push_type == "pushtotalk" and text != "0" else ""

    def collapse_id(self) -> str:
        return (
            "BadCollapseId"
            if len(self.headers.get("apns-collapse-id", "").encode()) > COLLAPSE_ID_MAX
            else ""
        )

    def size(self) -> str:
        limit = VOIP_PAYLOAD_MAX if self.push_type == "voip" else PAYLOAD_MAX
        return "PayloadTooLarge" if len(self.body) > limit else ""

    def content(self) -> str:
        # Apple names no reason for a body that is not a JSON object: for the device it is an empty one
        return "" if isinstance(self.payload, dict) and self.payload else "PayloadEmpty"

    def content_fits_type(self) -> str:
        # SEND: the push type must match the payload; Apple may respond, delay or drop. This simulator responds.
        shows = bool({"alert", "badge", "sound"} & self.aps.keys())
        if self.push_type == "background":
            return "" if self.aps.get("content-available") == 1 and not shows else "InvalidPushType"
        return "InvalidPushType" if self.push_type == "alert" and not shows else ""


_CHECKS: Final[tuple[Callable[[_ApnsRequest], str], ...]] = (
    _ApnsRequest.method,
    _ApnsRequest.path,
    _ApnsRequest.duplicates,
    _ApnsRequest.message_id,
    _ApnsRequest.provider_token,
    _ApnsRequest.device_token,
    _ApnsRequest.kind,
    _ApnsRequest.topic_rules,
    _ApnsRequest.priority,
    _ApnsRequest.expiration,
    _ApnsRequest.collapse_id,
    _ApnsRequest.size,
    _ApnsRequest.content,
    _ApnsRequest.content_fits_type,
)


def _parse(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _summary(payload: Any, aps: Mapping[str, Any]) -> Summary:
    if not isinstance(payload, dict):
        return Summary()
    alert, title = aps.get("alert"), None
    if isinstance(alert, dict):
        title = alert.get("title")
        alert = alert.get("body", title)
    return Summary(
        alert=None if alert is None else text_of(alert),
        badge=aps.get("badge"),
        sound=aps.get("sound"),
        vibrate=payload.get("vibrate", aps.get("vibrate")),
        do_sync=source_names(payload.get("do_sync")),
        title=None if title is None else text_of(title),
    )


def _unanswered(request: _ApnsRequest, fault: Fault) -> SimulatedAnswer:
    record = request.record(0, fault.action.value)
    return SimulatedAnswer(fault.action, 0, (), b"", record, fault.argument)
