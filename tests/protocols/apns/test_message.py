"""APNs notifications row by row, and their acceptance by a validating APNs."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.apns.message import ApnsMessage, ApnsTarget, compose
from protocols.apns.simulator import ApnsRules
from protocols.errors import InvalidField, InvalidToken, PayloadTooLarge
from protocols.http2.client import never_indexed
from protocols.ping import Ping

TARGET = ApnsTarget("com.example.app", ttl_s=86_400, sync_ttl_s=3_600)
NOW_MS = 1_700_000_000_000
PIN = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0"


def told(ping: Ping, target: ApnsTarget = TARGET) -> tuple[dict[bytes, bytes], dict[str, Any]]:
    message = compose(ping, target, NOW_MS)
    assert message is not None
    headers = dict(message.headers)
    assert len(headers) == len(message.headers)
    return headers, json.loads(message.body(PIN))


ROWS: list[tuple[Ping, bytes, bytes, dict[str, Any]]] = [
    # content of the ping, push type, priority, payload
    (Ping(message="hello"), b"alert", b"10", {"aps": {"alert": "hello"}}),
    (
        Ping(message="hello", badge=5, sound="hello.mp3", vibrate=2000, sources=("A", "B")),
        b"alert",
        b"10",
        {
            "aps": {
                "alert": "hello",
                "badge": 5,
                "sound": "hello.mp3",
                "vibrate": "2000",
                "content-available": 1,
            },
            "do_sync": ["A", "B"],
            "vibrate": "2000",
        },
    ),
    (Ping(message="hello", title="T"), b"alert", b"10", {"aps": {"alert": {"title": "T", "body": "hello"}}}),
    (Ping(title="T"), b"alert", b"10", {"aps": {"alert": {"title": "T"}}}),
    (
        Ping(message={"loc-key": "K", "loc-args": ["a"]}),
        b"alert",
        b"10",
        {"aps": {"alert": {"loc-key": "K", "loc-args": ["a"]}}},
    ),
    (
        Ping(message={"body": "b"}, title="T"),
        b"alert",
        b"10",
        {"aps": {"alert": {"title": "T", "body": "b"}}},
    ),
    (Ping(message={"own": 1}), b"alert", b"10", {"aps": {"alert": '{"own":1}'}}),
    (Ping(message=5), b"alert", b"10", {"aps": {"alert": "5"}}),
    (Ping(message="hello", priority="normal"), b"alert", b"5", {"aps": {"alert": "hello"}}),
    (Ping(badge=0), b"alert", b"10", {"aps": {"badge": 0}}),
    (Ping(sound="s.caf"), b"alert", b"10", {"aps": {"sound": "s.caf"}}),
    (
        Ping(badge=3, sources=("A",)),
        b"alert",
        b"10",
        {"aps": {"badge": 3, "content-available": 1}, "do_sync": ["A"]},
    ),
    (
        Ping(sources=("all",)),
        b"background",
        b"5",
        {"aps": {"content-available": 1}, "do_sync": ["all"]},
    ),
    (
        Ping(sources=("A",), vibrate=5, priority="high"),
        b"background",
        b"5",
        {"aps": {"content-available": 1, "vibrate": "5"}, "do_sync": ["A"], "vibrate": "5"},
    ),
    (Ping(vibrate=5), b"background", b"5", {"aps": {"content-available": 1, "vibrate": "5"}, "vibrate": "5"}),
    (
        Ping(message="hello", apns={"aps": {"category": "c", "alert": {"body": "own"}}, "own": {"k": 1}}),
        b"alert",
        b"10",
        {"aps": {"alert": {"body": "own"}, "category": "c"}, "own": {"k": 1}},
    ),
    (
        Ping(sources=("A",), apns={"aps": {"sound": "s.caf"}}),
        b"alert",
        b"10",
        {"aps": {"content-available": 1, "sound": "s.caf"}, "do_sync": ["A"]},
    ),
    (Ping(apns={"own": 1}), b"background", b"5", {"aps": {"content-available": 1}, "own": 1}),
]


@pytest.mark.parametrize(
    ("ping", "alert"),
    [
        (Ping(message="hello"), "hello"),
        (Ping(message="hello", title="T"), "T\nhello"),
        (Ping(title="T"), "T"),
        (Ping(message={"title": "T", "body": "b"}), "T\nb"),
        (Ping(message={"body": "b", "loc-key": "K"}), "b"),
        (Ping(message={"subtitle": "s"}, title="T"), "T\ns"),
        (Ping(message={"own": 1}, title="T"), 'T\n{"own":1}'),
        (Ping(message={"loc-key": "K"}), {"loc-key": "K"}),  # it has no text of its own
    ],
)
def test_an_app_that_reads_no_object_gets_a_text(ping: Ping, alert: Any) -> None:
    assert told(ping, TARGET._replace(alert="text"))[1]["aps"]["alert"] == alert


@pytest.mark.parametrize(("ping", "push_type", "priority", "payload"), ROWS)
def test_the_content_of_a_ping_decides_the_message(
    ping: Ping, push_type: bytes, priority: bytes, payload: dict[str, Any]
) -> None:
    headers, sent = told(ping)
    assert sent == payload
    assert headers[b"apns-push-type"] == push_type
    assert headers[b"apns-priority"] == priority
    assert headers[b"apns-topic"] == b"com.example.app"


@pytest.mark.parametrize(
    "ping", [Ping(), Ping(message=""), Ping(message={}), Ping(title=""), Ping(fcm={"a": {}})]
)
def test_a_ping_that_shows_and_syncs_nothing_has_no_message(ping: Ping) -> None:
    assert compose(ping, TARGET, NOW_MS) is None


def test_the_expiration_follows_the_time_to_live() -> None:
    assert told(Ping(message="x"))[0][b"apns-expiration"] == b"1700086400"
    assert told(Ping(sources=("A",)))[0][b"apns-expiration"] == b"1700003600"
    assert (
        told(Ping(message="x", ttl_s=60, accepted_ms=NOW_MS - 10_000))[0][b"apns-expiration"] == b"1700000050"
    )
    assert told(Ping(message="x", ttl_s=0))[0][b"apns-expiration"] == b"0"


def test_a_repetition_replaces_by_the_pings_id_or_the_requested_collapse_id() -> None:
    assert told(Ping(id="ab" * 16, message="x"))[0][b"apns-collapse-id"] == b"ab" * 16
    assert told(Ping(id="ab" * 16, message="x", collapse_id="ä"))[0][b"apns-collapse-id"] == "ä".encode()
    assert b"apns-collapse-id" not in told(Ping(message="x"))[0]


@pytest.mark.parametrize(
    ("ping", "once"),
    [
        (Ping(id="ab" * 16, message="x", users=("a",)), True),
        (Ping(id="ab" * 16, message="x", users=("a", "b")), False),
        (Ping(id="ab" * 16, message="x"), False),
        (Ping(id="ab" * 16, message="x", users=("a",), collapse_id="news"), False),
    ],
)
def test_a_collapse_id_that_comes_once_stays_out_of_the_header_table(ping: Ping, once: bool) -> None:
    message = compose(ping, TARGET, NOW_MS)
    assert message is not None
    assert (type(message.headers[-1]) is type(never_indexed(b"", b""))) == once


def test_a_voip_topic_gets_voip_pushes_with_their_own_size_limit() -> None:
    headers, _ = told(Ping(sources=("A",)), ApnsTarget("com.example.app.voip"))
    assert (headers[b"apns-push-type"], headers[b"apns-priority"]) == (b"voip", b"10")
    with pytest.raises(PayloadTooLarge):
        compose(Ping(message="x" * 5120), ApnsTarget("com.example.app.voip"), NOW_MS)
    assert compose(Ping(message="x" * 5000), ApnsTarget("com.example.app.voip"), NOW_MS) is not None


def test_a_payload_may_have_exactly_the_limit() -> None:
    around = len(b'{"aps":{"alert":""}}')
    fits = compose(Ping(message="x" * (4096 - around)), TARGET, NOW_MS)
    assert fits is not None and len(fits.body(PIN)) == 4096
    with pytest.raises(PayloadTooLarge, match="has 4097 bytes; at most 4096"):
        compose(Ping(message="x" * (4097 - around)), TARGET, NOW_MS)


def test_bytes_count_and_not_characters() -> None:
    with pytest.raises(PayloadTooLarge):
        compose(Ping(message="ä" * 2040), TARGET, NOW_MS)


def test_text_beyond_ascii_is_sent_as_utf8() -> None:
    message = compose(Ping(message="Grüße 😀"), TARGET, NOW_MS)
    assert message is not None
    assert "Grüße 😀".encode() in message.body(PIN)


@pytest.mark.parametrize("topic", ["", "com.example\r\n", "com example", "com.ä", "x" * 256])
def test_an_invalid_topic_never_reaches_a_header(topic: str) -> None:
    with pytest.raises(InvalidField) as refused:
        compose(Ping(message="x"), ApnsTarget(topic), NOW_MS)
    assert refused.value.field == "apns.topic"


@pytest.fixture
def message() -> ApnsMessage:
    composed = compose(Ping(message="x"), TARGET, NOW_MS)
    assert composed is not None
    return composed


@pytest.mark.parametrize(
    ("pin", "path"),
    [
        (PIN, b"/3/device/" + PIN.encode()),
        (PIN.upper(), b"/3/device/" + PIN.upper().encode()),
        ("abcd", b"/3/device/abcd"),
        ("0f", b"/3/device/0f"),
        ("00fc13ad ff785122", b"/3/device/00fc13adff785122"),
        ("ab" * 256, b"/3/device/" + b"ab" * 256),
    ],
)
def test_the_path_holds_the_hexadecimal_token(message: ApnsMessage, pin: str, path: bytes) -> None:
    assert message.path(pin) == path


@pytest.mark.parametrize(
    "pin",
    [
        "",
        "abc",
        "xy",
        "../x",
        "ab/cd",
        "ab?x",
        "\r\n",
        "ab\r\n:x",
        "ab%20",
        "<00fc13ad>",
        "\N{FULLWIDTH LATIN SMALL LETTER A}b",
        "ab" * 257,
        "ab\ud800",
        "٣٣",
    ],
)
def test_a_push_token_that_is_not_hex_never_reaches_a_path(message: ApnsMessage, pin: str) -> None:
    with pytest.raises(InvalidToken) as refused:
        message.path(pin)
    assert not pin or pin not in refused.value.message


def test_the_ping_and_the_additions_are_left_as_they_were() -> None:
    additions: dict[str, Any] = {"aps": {"category": "c"}}
    sources_only = Ping(apns=additions)
    first, second = told(sources_only), told(sources_only)
    assert first == second
    assert additions == {"aps": {"category": "c"}}


def test_the_repr_of_a_message_shows_no_content(message: ApnsMessage) -> None:
    assert repr(message) == "<APNs message, alert, 21 bytes>"
    assert not message.background
    assert message.expires_ms == NOW_MS + 86_400_000


TEXTS = st.text(max_size=20)
PINGS = st.builds(
    Ping,
    id=st.just("0" * 32),
    accepted_ms=st.integers(NOW_MS - 10_000, NOW_MS),
    sources=st.lists(st.text(min_size=1, max_size=8), max_size=3).map(tuple),
    message=st.none()
    | TEXTS
    | st.integers(-5, 5)
    | st.dictionaries(st.sampled_from(["title", "body", "x"]), TEXTS),
    title=st.none() | TEXTS.filter(bool),
    badge=st.none() | st.integers(0, 2**31 - 1),
    sound=st.none() | TEXTS.filter(bool),
    vibrate=st.none() | st.integers(0, 25_500),
    ttl_s=st.none() | st.integers(0, 2_419_200),
    priority=st.sampled_from([None, "high", "normal"]),
    collapse_id=st.none() | st.text(alphabet="abcä", min_size=1, max_size=32),
)


@given(PINGS)
def test_a_validating_apns_accepts_whatever_is_composed(ping: Ping) -> None:
    composed = compose(ping, TARGET, NOW_MS)
    if composed is None:
        return
    session = ApnsRules([], lambda: "00000000-0000-0000-0000-000000000000").session(["com.example.app"])
    request = [(b":method", b"POST"), (b":path", composed.path(PIN)), *composed.headers]
    answer = session.answer(request, composed.body(PIN), NOW_MS / 1000)
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize(
    ("ping", "payload"),
    [
        (Ping(id="1" * 32, message="hello"), {"aps": {"alert": "hello"}, "ping_id": "1" * 32}),
        (
            Ping(id="1" * 32, sources=("A",)),
            {"aps": {"content-available": 1}, "do_sync": ["A"], "ping_id": "1" * 32},
        ),
        (
            Ping(id="1" * 32, message="hello", apns={"k": "v"}),
            {"aps": {"alert": "hello"}, "k": "v", "ping_id": "1" * 32},
        ),
        (Ping(message="hello"), {"aps": {"alert": "hello"}}),
    ],
)
def test_the_id_of_the_ping_is_a_key_of_its_own_where_the_setting_says_so(
    ping: Ping, payload: dict[str, Any]
) -> None:
    assert told(ping, TARGET._replace(include_id=True))[1] == payload
    assert "ping_id" not in told(ping)[1]
    assert compose(Ping(id="1" * 32), TARGET._replace(include_id=True), NOW_MS) is None
