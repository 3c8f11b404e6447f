"""Composed messages satisfy the documented rules of their provider, and the responses get the intended verdicts.

The composing side and the simulated side were written independently from the same documentation: this test compares
them.
"""

import itertools
from typing import Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

import protocols.apns.message as to_apns
import protocols.fcm.message as to_fcm
from protocols.apns.simulator import REASONS as APNS_REASONS
from protocols.apns.simulator import ApnsOptions, ApnsRules, SigningKey
from protocols.apns.verdicts import judge as judge_apns
from protocols.fcm.simulator import REASONS as FCM_REASONS
from protocols.fcm.simulator import Account, FcmOptions, FcmRules
from protocols.fcm.verdicts import judge as judge_fcm
from protocols.ping.model import Ping
from protocols.simulation.record import SimulatedAnswer
from protocols.verdict import VerdictKind
from tests.support.certificates import RSA

NOW_S = 1_700_000_000
PIN = "ab" * 32
TOPIC = "com.example.app"
PRIVATE = ec.generate_private_key(ec.SECP256R1())
KEY = SigningKey("KEY0000001", "TEAM000001", PRIVATE.public_key())
TOKEN = jwt.encode({"iss": KEY.team_id, "iat": NOW_S}, PRIVATE, "ES256", {"kid": KEY.key_id})
ACCOUNT = Account("push@p", "key-1", RSA.public_key(), "my-project")

CHOICES: dict[str, tuple[Any, ...]] = {
    "message": (None, "hello", {"text": "any JSON"}),
    "title": (None, "Title"),
    "sources": ((), ("all",), ("Product", "Customer")),
    "badge": (None, 0, 5),
    "sound": (None, "welcome.mp3"),
    "vibrate": (None, 2000),
    "priority": (None, "high", "normal"),
    "ttl_s": (None, 0, 60),
}
PINGS = [
    Ping(id="0" * 32, accepted_ms=NOW_S * 1000, users=("bob",), **dict(zip(CHOICES, values, strict=True)))
    for values in itertools.product(*CHOICES.values())
]


def ask_apns(ping: Ping, **options: Any) -> SimulatedAnswer | None:
    message = to_apns.compose(ping, to_apns.ApnsTarget(TOPIC), NOW_S * 1000)
    if message is None:
        return None
    headers = [(b":method", b"POST"), (b":path", message.path(PIN)), *message.headers]
    headers.append((b"authorization", b"bearer " + TOKEN.encode()))
    session = ApnsRules([KEY], lambda: "0" * 36, ApnsOptions(**options)).session()
    return session.answer(headers, message.body(PIN), NOW_S)


def ask_fcm(ping: Ping, style: str = "notification", **options: Any) -> SimulatedAnswer | None:
    target = to_fcm.FcmTarget("my-project", TOPIC, style)
    message = to_fcm.compose(ping, target, NOW_S * 1000)
    if message is None:
        return None
    rules = FcmRules([ACCOUNT], b"secret", FcmOptions(**options))
    bearer = b"Bearer " + rules.tokens.issue(ACCOUNT, NOW_S).encode()
    headers = [(b":method", b"POST"), (b":path", message.path(PIN)), (b"authorization", bearer)]
    return rules.session().answer(headers, message.body(PIN), NOW_S)


def refused(answers: dict[int, SimulatedAnswer | None]) -> dict[str, bytes]:
    return {
        str(msgspec.structs.asdict(PINGS[place])): answer.body
        for place, answer in answers.items()
        if answer is not None and answer.status != 200
    }


def test_apns_accepts_every_kind_of_ping() -> None:
    answers = {place: ask_apns(ping) for place, ping in enumerate(PINGS)}
    assert refused(answers) == {}
    assert sum(answer is not None for answer in answers.values()) > len(PINGS) // 2


@pytest.mark.parametrize("style", ["notification", "data"])
def test_fcm_accepts_every_kind_of_ping(style: str) -> None:
    answers = {place: ask_fcm(ping, style) for place, ping in enumerate(PINGS)}
    assert refused(answers) == {}
    assert sum(answer is not None for answer in answers.values()) > len(PINGS) // 2


def test_the_device_receives_the_content_of_the_ping() -> None:
    ping = Ping(
        id="0" * 32,
        accepted_ms=NOW_S * 1000,
        message="hello",
        sources=("A", "B"),
        badge=3,
        sound="s.mp3",
        vibrate=2000,
    )
    for answer in (ask_apns(ping), ask_fcm(ping), ask_fcm(ping, "data")):
        assert answer is not None
        assert answer.record is not None
        summary = answer.record.summary
        assert (summary.alert, summary.sound, summary.vibrate) == ("hello", "s.mp3", "2000")
        assert (summary.do_sync, summary.badge) == (("A", "B"), 3)


SIMPLE = Ping(id="0" * 32, accepted_ms=NOW_S * 1000, message="hello")


@pytest.mark.parametrize("reason", sorted(APNS_REASONS))
def test_every_apns_reason_is_judged_by_its_name(reason: str) -> None:
    answer = ask_apns(SIMPLE, faults=[reason])
    assert answer is not None
    verdict = judge_apns(answer.status, list(answer.headers), answer.body)
    assert (verdict.reason, verdict.kind is VerdictKind.ACCEPTED) == (reason, False)
    assert verdict.dead is (answer.status == 410 or reason == "BadDeviceToken")
    assert (verdict.dead_since_ms is not None) is (answer.status == 410)


@pytest.mark.parametrize("reason", sorted(FCM_REASONS))
def test_every_fcm_reason_is_judged(reason: str) -> None:
    answer = ask_fcm(SIMPLE, faults=[reason])
    assert answer is not None
    verdict = judge_fcm(answer.status, list(answer.headers), answer.body)
    assert verdict.kind in (VerdictKind.REJECTED, VerdictKind.LATER)
    assert verdict.dead is (reason in {"UNREGISTERED", "BadRegistrationToken"})
    for_good = {"SENDER_ID_MISMATCH", "UNREGISTERED", "MethodNotAllowed"}
    assert (verdict.kind is VerdictKind.REJECTED) is (answer.status == 400 or reason in for_good)


@pytest.mark.parametrize("seconds", [0, 7, 600])
def test_retry_after_of_both_providers_is_respected(seconds: int) -> None:
    apns, fcm = ask_apns(SIMPLE, faults=[f"503={seconds}"]), ask_fcm(SIMPLE, faults=[f"429={seconds}"])
    assert apns is not None
    assert fcm is not None
    assert judge_apns(apns.status, list(apns.headers), apns.body).delay_s == seconds
    assert judge_fcm(fcm.status, list(fcm.headers), fcm.body).delay_s == seconds
