"""Responses of providers, token servers and callers' servers, and requests to the simulators."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from gateway.store.command_encoding import pack
from protocols.apns.simulator import ApnsOptions, ApnsRules, SigningKey
from protocols.apns.verdicts import judge as judge_apns
from protocols.fcm.credentials import parse_token_response
from protocols.fcm.simulator import Account, FcmOptions, FcmRules
from protocols.fcm.verdicts import judge as judge_fcm
from protocols.http2.stream_result import goaway_text
from protocols.provider_response import retry_after_s
from protocols.rhoconnect_push.verdicts import judge as judge_rhoconnect_push
from protocols.verdict import Verdict
from tests.fuzz.target import Step, Target, plain
from tests.fuzz.targets.pings import FULL, NOW_S, PIN

_STATUSES: Final = (200, 400, 403, 404, 410, 413, 429, 500, 503, 100, 302, 599)
APNS: Final = (
    b'4|{"reason":"Unregistered","timestamp":1764540000000}',
    b'1|{"reason":"BadDeviceToken"}',
    b'8|{"reason":"Shutdown"}',
)
FCM_ERROR: Final = {
    "error": {
        "code": 404,
        "message": "Requested entity was not found.",
        "status": "NOT_FOUND",
        "details": [
            {"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": "UNREGISTERED"},
            {"@type": "x/google.rpc.BadRequest", "fieldViolations": [{"field": "message.token"}]},
        ],
    }
}
RETRIES: Final = (
    b"30",
    b"Tue, 14 Nov 2023 22:14:20 GMT",
    b"Tuesday, 14-Nov-23 22:14:20 GMT",
    b"14 Nov 2023 22:14 +0100",
)


def _carried(verdict: Verdict) -> None:
    """The reason of a verdict must be storable in Redis."""
    pack((verdict.reason, verdict.delay_s or 0.0, verdict.dead_since_ms or 0))


def _judged(judge: Any) -> Any:
    def step(data: bytes) -> None:
        place, _, body = data.partition(b"|")
        status = _STATUSES[(place[-1] if place else 0) % len(_STATUSES)]
        _carried(judge(status, [(b"retry-after", body[:40])], body, NOW_S))

    return step


def _retry_after(data: bytes) -> None:
    delay_s = retry_after_s([(b"retry-after", data)], NOW_S)
    assert delay_s is None or 0 <= delay_s <= 86_400


def _token(data: bytes) -> None:
    token = parse_token_response(200, data, NOW_S)
    assert NOW_S <= token.expires_s < NOW_S + 1_000_000
    assert len(token.value) < 8 or token.value not in repr(token)


def _goaway(data: bytes) -> None:
    assert goaway_text(0, data).isprintable()


@contextmanager
def _asked_apns() -> Iterator[Step]:
    key = SigningKey("KEY0000001", "TEAM000001", ec.generate_private_key(ec.SECP256R1()).public_key())
    rules = ApnsRules([key], lambda: "0" * 36, ApnsOptions())
    head = [(b":method", b"POST"), (b":path", b"/3/device/" + PIN.encode()), (b"apns-topic", b"t")]

    def step(data: bytes) -> None:
        name, _, rest = data.partition(b":")
        value, _, body = rest.partition(b"\n")
        rules.session().answer([*head, (name, value)], body, NOW_S)

    yield step


@contextmanager
def _asked_fcm() -> Iterator[Step]:
    account = Account("push@p", "key-1", rsa.generate_private_key(65537, 2048).public_key(), "project")
    rules = FcmRules([account], b"secret", FcmOptions())
    bearer = b"Bearer " + rules.tokens.issue(account, NOW_S).encode()
    head = [
        (b":method", b"POST"),
        (b":path", b"/v1/projects/project/messages:send"),
        (b"authorization", bearer),
    ]

    def step(data: bytes) -> None:
        rules.session().answer(head, data, NOW_S)

    yield step


_FCM_MESSAGE: Final = {
    "message": {
        "token": "a:b",
        "notification": {"title": "t", "body": "b"},
        "data": {"alert": "x", "badge": "5"},
        "android": {"ttl": "60s", "priority": "HIGH", "notification": {"notification_count": 5, "tag": "t"}},
    }
}
_TOKEN_ANSWER: Final = b'{"access_token":"ya29.abc","expires_in":3599,"token_type":"Bearer"}'
_APNS_REQUEST: Final = b'apns-expiration:1764540000\n{"aps":{"alert":{"title":"t"},"badge":5,"sound":"s"}}'
TARGETS: Final = (
    Target("apns-answers", plain(_judged(judge_apns)), APNS, (b"reason", b"timestamp")),
    Target(
        "fcm-answers", plain(_judged(judge_fcm)), (b"3|" + json.dumps(FCM_ERROR).encode(),), (b"details",)
    ),
    Target("rps-answers", plain(_judged(judge_rhoconnect_push)), (b"0|", b"3|not found", b"8|{}")),
    Target("retry-after", plain(_retry_after), RETRIES, (b"GMT", b"+", b"-", b"Nov", b","), largest=65_536),
    Target("token-answers", plain(_token), (_TOKEN_ANSWER, b'{"error":"invalid_grant"}'), tree="json"),
    Target(
        "goaway-texts",
        plain(_goaway),
        (b'{"reason":"Shutdown","timestamp":1}', b"too_many_pings"),
        tree="json",
    ),
    Target(
        "apns-simulator",
        _asked_apns,
        (_APNS_REQUEST, b"authorization:bearer a.b.c\n{}", b"apns-priority:5\n"),
    ),
    Target(
        "fcm-simulator",
        _asked_fcm,
        (json.dumps(_FCM_MESSAGE).encode(), json.dumps(FULL).encode()),
        tree="json",
    ),
)
