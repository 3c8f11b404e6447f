"""Rules of the simulated APNs, row by row: each refusal has its reason, and valid requests are accepted."""

import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from protocols.apns.simulator import ANSWERS, REASONS, ApnsOptions, ApnsRules, ApnsSession, SigningKey
from protocols.headers import Header
from protocols.simulation.faults import FaultAction
from protocols.simulation.record import SimulatedAnswer

NOW_S = 1_700_000_000.0
ID = "0f0e0d0c-0b0a-4908-8706-050403020100"
GIVEN_ID = "123e4567-e89b-42d3-a456-426614174000"
PIN = "ab" * 32
TOPIC = "com.example.app"
ALERT: dict[str, Any] = {"aps": {"alert": "hi"}}
SYNC: dict[str, Any] = {"aps": {"content-available": 1}, "do_sync": ["A"]}

PRIVATE = ec.generate_private_key(ec.SECP256R1())
KEY = SigningKey("KEY0000001", "TEAM000001", PRIVATE.public_key())


def token(issued_s: float = NOW_S, kid: str = "KEY0000001", iss: str = "TEAM000001", **more: Any) -> str:
    claims = {"iss": iss, "iat": int(issued_s), **more}
    return jwt.encode(claims, PRIVATE, "ES256", {"kid": kid})


TOKEN = token()


def rules(**options: Any) -> ApnsRules:
    return ApnsRules([KEY], lambda: ID, ApnsOptions(**options))


def headers(changes: dict[str, str | None] | None = None) -> list[Header]:
    """The headers of a valid alert, with changes; None removes one."""
    values: dict[str, str | None] = {
        ":method": "POST",
        ":scheme": "https",
        ":authority": "api.push.apple.com",
        ":path": f"/3/device/{PIN}",
        "authorization": f"bearer {TOKEN}",
        "apns-topic": TOPIC,
        "apns-push-type": "alert",
        **(changes or {}),
    }
    return [(name.encode(), value.encode()) for name, value in values.items() if value is not None]


def ask(
    session: ApnsSession,
    changes: dict[str, str | None] | None = None,
    payload: dict[str, Any] | bytes = ALERT,
    now_s: float = NOW_S,
) -> SimulatedAnswer:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return session.answer(headers(changes), body, now_s)


def verdict(answer: SimulatedAnswer) -> tuple[int, str]:
    """Status and reason, as sent over the wire."""
    return answer.status, json.loads(answer.body)["reason"] if answer.body else ""


def sized(size: int) -> bytes:
    """A payload of exactly this many bytes."""
    frame = b'{"aps":{"alert":""}}'
    return frame.replace(b'""', b'"' + b"x" * (size - len(frame)) + b'"')


Row = tuple[dict[str, str | None], Any, str]
SYNC_TYPE: dict[str, str | None] = {"apns-push-type": "background", "apns-priority": "5"}
VOIP: dict[str, str | None] = {"apns-push-type": "voip", "apns-topic": TOPIC + ".voip"}
TALK: dict[str, str | None] = {"apns-push-type": "pushtotalk", "apns-topic": TOPIC + ".voip-ptt"}

REFUSED: list[Row] = [
    ({":method": "GET"}, ALERT, "MethodNotAllowed"),
    ({":path": "/3/devices/ab"}, ALERT, "BadPath"),
    ({":path": "/"}, ALERT, "BadPath"),
    ({":path": "/3/device/"}, ALERT, "MissingDeviceToken"),
    ({":path": "/3/device/zz"}, ALERT, "BadDeviceToken"),
    ({":path": "/3/device/abc"}, ALERT, "BadDeviceToken"),
    ({":path": "/3/device/ab/cd"}, ALERT, "BadDeviceToken"),
    ({"apns-id": "x"}, ALERT, "BadMessageId"),
    ({"apns-id": GIVEN_ID.upper()}, ALERT, "BadMessageId"),
    ({"authorization": None}, ALERT, "MissingProviderToken"),
    ({"authorization": "bearer"}, ALERT, "MissingProviderToken"),
    ({"authorization": "basic eA=="}, ALERT, "MissingProviderToken"),
    ({"authorization": "bearer x.y.z"}, ALERT, "InvalidProviderToken"),
    ({"authorization": f"bearer {token(kid='KEY0000009')}"}, ALERT, "InvalidProviderToken"),
    ({"authorization": f"bearer {token(iss='TEAM000009')}"}, ALERT, "InvalidProviderToken"),
    ({"authorization": f"bearer {token(NOW_S - 3601)}"}, ALERT, "ExpiredProviderToken"),
    ({"authorization": f"bearer {token(NOW_S + 61)}"}, ALERT, "InvalidProviderToken"),
    ({"apns-push-type": "alarm"}, ALERT, "InvalidPushType"),
    ({"apns-topic": None}, ALERT, "MissingTopic"),
    ({"apns-topic": "com.example app"}, ALERT, "BadTopic"),
    ({"apns-push-type": "voip"}, ALERT, "BadTopic"),
    ({"apns-priority": "7"}, ALERT, "BadPriority"),
    ({"apns-priority": ""}, ALERT, "BadPriority"),
    ({"apns-push-type": "background", "apns-priority": "10"}, SYNC, "BadPriority"),
    ({"apns-push-type": "background"}, SYNC, "BadPriority"),
    ({**TALK, "apns-priority": "5"}, ALERT, "BadPriority"),
    ({**TALK, "apns-expiration": "1"}, ALERT, "BadExpirationDate"),
    ({"apns-expiration": "soon"}, ALERT, "BadExpirationDate"),
    ({"apns-expiration": "-1"}, ALERT, "BadExpirationDate"),
    ({"apns-expiration": "1700000000000"}, ALERT, "BadExpirationDate"),
    ({"apns-collapse-id": "x" * 65}, ALERT, "BadCollapseId"),
    ({"apns-collapse-id": "é" * 33}, ALERT, "BadCollapseId"),
    ({}, sized(4097), "PayloadTooLarge"),
    (VOIP, sized(5121), "PayloadTooLarge"),
    ({}, b"", "PayloadEmpty"),
    ({}, b"{", "PayloadEmpty"),
    ({}, b"[1]", "PayloadEmpty"),
    ({}, b"{}", "PayloadEmpty"),
    ({}, SYNC, "InvalidPushType"),
    (SYNC_TYPE, {"aps": {"content-available": 1, "alert": "x"}}, "InvalidPushType"),
    (SYNC_TYPE, {"aps": {}}, "InvalidPushType"),
]

ACCEPTED: list[tuple[dict[str, str | None], Any]] = [
    ({}, ALERT),
    ({"authorization": f"Bearer {TOKEN}"}, ALERT),
    ({"authorization": f"bearer {token(NOW_S - 3600)}"}, ALERT),
    ({"authorization": f"bearer {token(NOW_S + 60)}"}, ALERT),
    ({"apns-id": GIVEN_ID}, ALERT),
    ({"apns-push-type": None}, {"any": "thing"}),
    ({"apns-priority": "1", "apns-expiration": "0"}, ALERT),
    ({"apns-expiration": "1800000000", "apns-collapse-id": "x" * 64}, ALERT),
    ({}, {"aps": {"badge": 0}}),
    ({}, {"aps": {"sound": "a.mp3", "content-available": 1}, "do_sync": ["A"]}),
    (SYNC_TYPE, SYNC),
    ({}, sized(4096)),
    (VOIP, sized(5120)),
    (TALK, ALERT),
    ({":path": f"/3/device/{'AB' * 80}"}, ALERT),
]


@pytest.mark.parametrize(("changes", "payload", "reason"), REFUSED)
def test_invalid_requests_are_refused_with_their_reason(
    changes: dict[str, str | None], payload: Any, reason: str
) -> None:
    answer = ask(rules().session(), changes, payload)
    assert verdict(answer) == (REASONS[reason], reason)
    assert answer.record is not None
    assert (answer.record.status, answer.record.reason) == (REASONS[reason], reason)


@pytest.mark.parametrize(("changes", "payload"), ACCEPTED)
def test_valid_requests_are_accepted(changes: dict[str, str | None], payload: Any) -> None:
    answer = ask(rules().session(), changes, payload)
    assert (verdict(answer), answer.action) == ((200, ""), FaultAction.SEND)


def test_a_repeated_header_is_refused() -> None:
    twice = [*headers(), (b"apns-topic", TOPIC.encode())]
    assert verdict(rules().session().answer(twice, b"{}", NOW_S)) == (400, "DuplicateHeaders")


@pytest.mark.parametrize(("given", "answered"), [(None, ID), (GIVEN_ID, GIVEN_ID), ("bad", ID)])
def test_every_answer_has_an_apns_id(given: str | None, answered: str) -> None:
    assert (b"apns-id", answered.encode()) in ask(rules().session(), {"apns-id": given}).headers


@pytest.mark.parametrize(("environment", "there"), [("production", False), ("sandbox", True)])
def test_only_the_sandbox_gives_a_unique_id(environment: str, there: bool) -> None:
    names = [name for name, _ in ask(rules(environment=environment).session()).headers]
    assert (b"apns-unique-id" in names) is there


def test_the_stream_limit_opens_with_the_first_valid_token() -> None:
    session = rules(streams=9).session()
    assert session.stream_limit == 1
    ask(session, {"authorization": "bearer x"})
    assert session.stream_limit == 1
    ask(session, {":path": "/3/device/zz"})
    assert session.stream_limit == 9


CERTIFICATE: list[tuple[list[str], dict[str, str | None], str]] = [
    ([TOPIC], {"authorization": None}, ""),
    ([TOPIC], {"authorization": "bearer nonsense"}, ""),
    ([TOPIC], {"apns-topic": None}, ""),
    ([TOPIC, "com.b"], {"apns-topic": None}, "MissingTopic"),
    ([TOPIC, "com.b"], {"apns-topic": "com.b"}, ""),
    ([TOPIC], {"apns-topic": "com.b"}, "TopicDisallowed"),
    ([TOPIC + ".location-query"], {"apns-push-type": "location", "apns-topic": None}, "TopicDisallowed"),
    ([], {}, "TopicDisallowed"),
]


@pytest.mark.parametrize(("topics", "changes", "reason"), CERTIFICATE)
def test_a_certificate_stands_for_its_topics(
    topics: list[str], changes: dict[str, str | None], reason: str
) -> None:
    session = rules(streams=9).session(topics)
    assert session.stream_limit == 9
    assert verdict(ask(session, changes))[1] == reason


@pytest.mark.parametrize(
    ("theirs", "environment", "answer"),
    [
        ("sandbox", "sandbox", (200, "")),
        ("sandbox", "production", (400, "BadDeviceToken")),
        ("production", "sandbox", (400, "BadDeviceToken")),
        ("elsewhere", "production", (400, "BadDeviceToken")),
    ],
)
def test_a_device_token_belongs_to_its_environment(
    theirs: str, environment: str, answer: tuple[int, str]
) -> None:
    server = rules(environments={PIN: theirs}, environment=environment)
    assert verdict(ask(server.session())) == answer
    assert verdict(ask(server.session(), {":path": "/3/device/cd"})) == (200, "")


def test_a_device_token_belongs_to_its_topic() -> None:
    server = rules(topics={PIN: "com.other"})
    assert verdict(ask(server.session())) == (400, "DeviceTokenNotForTopic")
    assert verdict(ask(server.session(), {":path": "/3/device/cd"})) == (200, "")


def test_errors_shrink_the_limit_then_end_the_connection_but_dead_tokens_do_not() -> None:
    session = rules(streams=8, errors_max=4, faults=["410:dead"]).session()
    wrong: dict[str, str | None] = {":path": "/3/device/zz"}
    limits = []
    for _ in range(9):
        assert verdict(ask(session, {":path": "/3/device/dead"}))[0] == 410
    for _ in range(4):
        ask(session, wrong)
        limits.append((session.stream_limit, session.goodbye))
    assert limits == [(8, ""), (4, ""), (4, ""), (4, "TooManyErrors")]


@pytest.mark.parametrize("reason", sorted(REASONS))
def test_every_reason_can_be_scripted(reason: str) -> None:
    answer = ask(rules(faults=[reason]).session())
    assert verdict(answer) == (REASONS[reason], reason)
    assert ("timestamp" in json.loads(answer.body)) is (REASONS[reason] == 410)


@pytest.mark.parametrize("word", sorted(word for word in ANSWERS if word.isdigit()))
def test_a_status_can_be_scripted(word: str) -> None:
    assert ask(rules(faults=[word]).session()).status == int(word)


def test_a_dead_tokens_timestamp_is_now_by_default() -> None:
    assert json.loads(ask(rules(faults=["410"]).session()).body)["timestamp"] == NOW_S * 1000
    assert json.loads(ask(rules(faults=["410=5"]).session()).body)["timestamp"] == 5


def test_a_fault_applies_only_to_valid_requests() -> None:
    session = rules(faults=["503:next=1"]).session()
    assert verdict(ask(session, {"apns-priority": "7"})) == (400, "BadPriority")
    assert verdict(ask(session)) == (503, "ServiceUnavailable")
    assert verdict(ask(session)) == (200, "")


def test_keys_that_the_device_ignores_are_noted() -> None:
    record = ask(rules().session(), payload={"aps": {"alert": "hi", "vibrate": "2000"}}).record
    assert record is not None
    assert record.notes == ("aps.vibrate is ignored by the device",)
    assert record.summary.vibrate == "2000"


def test_an_alert_of_several_parts_is_summed_up_by_its_body() -> None:
    record = ask(rules().session(), payload={"aps": {"alert": {"title": "T", "body": "B"}}}).record
    assert record is not None
    assert record.summary.alert == "B"


FIELDS = ["aps", "alert", "badge", "sound", "content-available", "do_sync", "vibrate", "body", "title"]
NAMES = [
    ":path",
    "authorization",
    "apns-id",
    "apns-topic",
    "apns-push-type",
    "apns-priority",
    "apns-expiration",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=8,
)


@given(
    changes=st.dictionaries(st.sampled_from(NAMES), st.none() | st.text(max_size=12), max_size=3),
    extra=st.lists(st.tuples(st.binary(max_size=4), st.binary(max_size=4)), max_size=2),
    payload=st.binary(max_size=9) | JSON.map(lambda value: json.dumps(value).encode()),
)
def test_no_request_raises_an_unexpected_error(
    changes: dict[str, str | None], extra: list[Header], payload: bytes
) -> None:
    answer = rules().session().answer([*headers(changes), *extra], payload, NOW_S)
    assert answer.status in {200, *REASONS.values()}
    assert answer.record is not None
    assert answer.record.line()


@pytest.mark.parametrize("name", ["body", "title"])
def test_a_deeply_nested_text_of_an_alert_ends_no_connection(name: str) -> None:
    nested = "[" * 1_000 + "]" * 1_000
    payload = json.dumps({"aps": {"alert": {name: "PLACE"}}}).replace('"PLACE"', nested)
    record = ask(rules().session(), payload=payload.encode()).record
    assert record is not None
    assert record.summary.alert == ""


@pytest.mark.parametrize("name", ["sound", "badge", "vibrate"])
def test_a_deeply_nested_value_leaves_the_line_of_a_record_readable(name: str) -> None:
    nested = "[" * 1_000 + "]" * 1_000
    payload = json.dumps({"aps": {"alert": "hi", name: "PLACE"}}).replace('"PLACE"', nested)
    record = ask(rules().session(), payload=payload.encode()).record
    assert record is not None and record.accepted
    assert record.line()
