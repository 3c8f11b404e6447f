"""FCM messages row by row, and their acceptance by a validating FCM."""

import json
from typing import Any

import pytest
from hypothesis import given

from protocols.errors import InvalidToken, PayloadTooLarge
from protocols.fcm.message import FcmMessage, FcmTarget, compose
from protocols.fcm.simulated_schema import violations
from protocols.ping import Ping
from protocols.ping.overrides import fcm as additions
from tests.protocols.apns.test_message import PINGS

TARGET = FcmTarget("my-project", "com.example.app")
NOW_MS = 1_700_000_000_000
PIN = "dGVzdA:APA91bEXAMPLE-_" + "x" * 120


def told(ping: Ping, target: FcmTarget = TARGET) -> dict[str, Any]:
    message = compose(ping, target, NOW_MS)
    assert message is not None
    body = json.loads(message.body(PIN))
    assert list(body) == ["message"]
    sent: dict[str, Any] = body["message"]
    assert sent.pop("token") == PIN
    assert violations({"message": {"token": PIN, **sent}}) == []
    return sent


ROWS: list[tuple[Ping, dict[str, Any] | None, dict[str, str], str, str | None]] = [
    # content of the ping; notification; data; priority; collapse key
    (Ping(message="hello"), {"body": "hello"}, {"do_sync": "", "alert": "hello"}, "high", None),
    (
        Ping(message="hello", badge=5, sound="hello.mp3", vibrate=2000, sources=("A", "B")),
        {"body": "hello"},
        {"do_sync": "A,B", "alert": "hello", "badge": "5", "vibrate": "2000", "sound": "hello.mp3"},
        "high",
        None,
    ),
    (
        Ping(message="hello", title="T"),
        {"title": "T", "body": "hello"},
        {"do_sync": "", "alert": "hello", "title": "T"},
        "high",
        None,
    ),
    (Ping(title="T"), {"title": "T"}, {"do_sync": "", "title": "T"}, "high", None),
    (
        Ping(message={"title": "T", "body": "b"}),
        {"title": "T", "body": "b"},
        {"do_sync": "", "alert": "b", "title": "T"},
        "high",
        None,
    ),
    (
        Ping(message={"own": 1}),
        {"body": '{"own":1}'},
        {"do_sync": "", "alert": '{"own":1}'},
        "high",
        None,
    ),
    # Android's own notification has the keys of localised texts: see below
    (Ping(message={"loc-key": "K"}), None, {"do_sync": "", "alert": '{"loc-key":"K"}'}, "high", None),
    (
        Ping(message={"subtitle": "s"}),
        {"body": "s"},
        {"do_sync": "", "alert": "s"},
        "high",
        None,
    ),
    (Ping(message=5), {"body": "5"}, {"do_sync": "", "alert": "5"}, "high", None),
    (Ping(message="x", priority="normal"), {"body": "x"}, {"do_sync": "", "alert": "x"}, "normal", None),
    (Ping(message="x", collapse_id="k"), {"body": "x"}, {"do_sync": "", "alert": "x"}, "high", "k"),
    (Ping(badge=0), None, {"do_sync": "", "badge": "0"}, "high", None),
    (Ping(sound="s.mp3"), None, {"do_sync": "", "sound": "s.mp3"}, "high", None),
    (Ping(badge=1, sources=("A",)), None, {"do_sync": "A", "badge": "1"}, "high", None),
    (Ping(sources=("A",)), None, {"do_sync": "A"}, "high", "sync:A"),
    (Ping(sources=("all",)), None, {"do_sync": "all"}, "high", "sync:all"),
    (Ping(sources=("A", "B"), vibrate=5), None, {"do_sync": "A,B", "vibrate": "5"}, "high", "sync:A,B"),
    (Ping(sources=("A",), collapse_id="k", priority="normal"), None, {"do_sync": "A"}, "normal", "k"),
    (Ping(vibrate=5), None, {"do_sync": "", "vibrate": "5"}, "high", None),
    (
        Ping(sources=("A",), fcm=additions({"notification": {"title": "own"}}, "fcm")),
        {"title": "own"},
        {"do_sync": "A"},
        "high",
        "sync:A",
    ),
    (
        Ping(message="x", fcm=additions({"data": {"k": "v"}, "android": {"collapseKey": "c"}}, "fcm")),
        {"body": "x"},
        {"do_sync": "", "alert": "x", "k": "v"},
        "high",
        "c",
    ),
]


@pytest.mark.parametrize(("ping", "notification", "data", "priority", "collapse_key"), ROWS)
def test_the_content_of_a_ping_decides_the_message(
    ping: Ping,
    notification: dict[str, Any] | None,
    data: dict[str, str],
    priority: str,
    collapse_key: str | None,
) -> None:
    sent = told(ping)
    assert sent.get("notification") == notification
    assert sent["data"] == data
    assert sent["android"]["priority"] == priority
    assert sent["android"].get("collapse_key") == collapse_key
    assert sent["android"]["restricted_package_name"] == "com.example.app"


@pytest.mark.parametrize("ping", [Ping(), Ping(message=""), Ping(message=[]), Ping(apns={"a": 1})])
def test_a_ping_that_shows_and_syncs_nothing_has_no_message(ping: Ping) -> None:
    assert compose(ping, TARGET, NOW_MS) is None


def test_android_shows_sound_vibration_count_and_tag() -> None:
    sent = told(Ping(id="ab" * 16, message="x", badge=5, sound="s.mp3", vibrate=2500))
    assert sent["android"]["notification"] == {
        "tag": "ab" * 16,
        "sound": "s.mp3",
        "vibrate_timings": ["0s", "2.5s"],
        "notification_count": 5,
    }


@pytest.mark.parametrize(
    ("vibrate", "timings"),
    [
        (2000, ["0s", "2s"]),
        (1, ["0s", "0.001s"]),
        (25_500, ["0s", "25.5s"]),
        (10_000, ["0s", "10s"]),
        (0, None),
    ],
)
def test_vibration_in_seconds(vibrate: int, timings: list[str] | None) -> None:
    assert (
        told(Ping(message="x", vibrate=vibrate))["android"]["notification"].get("vibrate_timings") == timings
    )


def test_a_repeat_replaces_by_its_tag() -> None:
    assert told(Ping(id="i" * 32, message="x", collapse_id="k"))["android"]["notification"]["tag"] == "k"
    assert told(Ping(id="i" * 32, message="x"))["apns"]["headers"]["apns-collapse-id"] == "i" * 32


def test_style_data_leaves_the_showing_to_the_app() -> None:
    sent = told(Ping(message="x", title="T", badge=1), TARGET._replace(style="data"))
    assert "notification" not in sent and "notification" not in sent["android"]
    assert sent["data"] == {"do_sync": "", "alert": "x", "title": "T", "badge": "1"}
    assert sent["android"]["priority"] == "high"


@pytest.mark.parametrize(
    "ping",
    [Ping(sources=("A",)), Ping(badge=1), Ping(sound="s"), Ping(vibrate=5), Ping(sources=("A",), badge=1)],
)
def test_a_ping_that_shows_nothing_has_the_priority_of_the_setting(ping: Ping) -> None:
    assert told(ping)["android"]["priority"] == "high"  # as RhoConnect's
    sparing = TARGET._replace(sync_priority="normal")
    assert told(ping, sparing)["android"]["priority"] == "normal"
    assert told(Ping(message="x"), sparing)["android"]["priority"] == "high"


@pytest.mark.parametrize(
    ("alert", "android"),
    [
        (
            {"loc-key": "GAME", "loc-args": ["Ann", 5], "title-loc-key": "TITLE", "title-loc-args": ["x"]},
            {
                "body_loc_key": "GAME",
                "body_loc_args": ["Ann", "5"],
                "title_loc_key": "TITLE",
                "title_loc_args": ["x"],
            },
        ),
        (
            {"subtitle-loc-key": "SUB", "subtitle-loc-args": ["x"]},
            {"body_loc_key": "SUB", "body_loc_args": ["x"]},
        ),
        ({"subtitle-loc-key": "SUB", "loc-key": "BODY"}, {"body_loc_key": "BODY"}),
        ({"loc-key": 5, "loc-args": "x"}, {}),
    ],
)
def test_localised_texts_are_shown_on_devices_reached_through_fcm(
    alert: dict[str, Any], android: dict[str, Any]
) -> None:
    sent = told(Ping(message=alert))
    assert sent["android"].get("notification", {}) == android
    assert sent["apns"]["payload"]["aps"]["alert"] == alert
    assert "apns-push-type" not in sent["apns"]["headers"]
    assert sent["android"]["priority"] == ("high" if android else TARGET.sync_priority)


@pytest.mark.parametrize(
    "ping", [Ping(message="x"), Ping(sources=("A",)), Ping(fcm={"data": {"k": "v"}}, badge=1)]
)
def test_the_data_contain_the_phone_id_of_the_device(ping: Ping) -> None:
    message = compose(ping, TARGET, NOW_MS)
    assert message is not None
    without = json.loads(message.body(PIN))
    with_id = json.loads(message.body(PIN, 'a "phone"'))
    assert with_id["message"]["data"].pop("phone_id") == 'a "phone"'
    assert with_id == without
    assert json.loads(message.body(PIN, "")) == without
    assert json.loads(message.body(PIN, "\ud800")) == without
    assert json.loads(message.body(PIN, "x" * 300)) == without


def test_a_phone_id_of_the_ping_itself_counts() -> None:
    message = compose(Ping(message="x", fcm={"data": {"phone_id": "own"}}), TARGET, NOW_MS)
    assert message is not None
    assert json.loads(message.body(PIN, "device"))["message"]["data"]["phone_id"] == "own"
    assert message.body(PIN, "device").count(b"phone_id") == 1


def test_a_phone_id_does_not_exceed_the_limit() -> None:
    around = len(b'{"do_sync":"","alert":""}')
    message = compose(Ping(message="x" * (4096 - around)), TARGET._replace(style="data"), NOW_MS)
    assert message is not None
    assert b"phone_id" not in message.body(PIN, "device")


def test_any_package_where_none_is_set() -> None:
    assert "restricted_package_name" not in told(Ping(message="x"), FcmTarget("p"))["android"]


def test_time_to_live_is_what_is_left() -> None:
    def ttl(ping: Ping) -> str:
        return str(told(ping)["android"]["ttl"])

    assert ttl(Ping(message="x")) == "86400s"
    assert ttl(Ping(sources=("A",))) == "3600s"
    assert ttl(Ping(message="x", ttl_s=60, accepted_ms=NOW_MS - 10_000)) == "50s"
    assert ttl(Ping(message="x", ttl_s=60, accepted_ms=NOW_MS - 59_001)) == "1s"
    assert ttl(Ping(message="x", ttl_s=60, accepted_ms=NOW_MS - 61_000)) == "0s"
    assert ttl(Ping(message="x", ttl_s=0)) == "0s"


def test_syncs_of_other_sources_do_not_collapse_and_long_keys_are_bounded() -> None:
    def key(*sources: str) -> str:
        return str(told(Ping(sources=sources))["android"]["collapse_key"])

    assert key("A") != key("B")
    assert key("x" * 59) == "sync:" + "x" * 59  # 64 bytes
    assert key("x" * 60).startswith("sync:") and "x" not in key("x" * 60)
    long = tuple(f"Source{i}" for i in range(50))
    assert len(key(*long)) == len("sync:") + 32
    assert key(*long) == key(*long) != key(*long[1:])


@pytest.mark.parametrize(
    ("ping", "apns"),
    [
        (Ping(message="x"), {"headers": {"apns-expiration": "1700086400"}}),
        (
            Ping(message="x", badge=1, sound="s", sources=("A",)),
            {
                "headers": {"apns-expiration": "1700086400"},
                "payload": {"aps": {"badge": 1, "sound": "s", "content-available": 1}},
            },
        ),
        (
            Ping(sources=("A",)),
            {
                "headers": {
                    "apns-expiration": "1700003600",
                    "apns-priority": "5",
                    "apns-push-type": "background",
                },
                "payload": {"aps": {"content-available": 1}},
            },
        ),
        (Ping(badge=1), {"headers": {"apns-expiration": "1700086400"}, "payload": {"aps": {"badge": 1}}}),
        (
            Ping(message="x", ttl_s=0),
            {"headers": {"apns-expiration": "0"}},
        ),
        (
            Ping(message="x", priority="normal"),
            {"headers": {"apns-expiration": "1700086400", "apns-priority": "5"}},
        ),
        (Ping(message="x", priority="high"), {"headers": {"apns-expiration": "1700086400"}}),
    ],
)
def test_the_message_for_an_ios_app_that_uses_fcm(ping: Ping, apns: dict[str, Any]) -> None:
    assert told(ping)["apns"] == apns


def test_a_payload_may_have_exactly_the_limit() -> None:
    # Both data and notification contain the text.
    around = len(b'{"do_sync":"","alert":""}') + len(b'{"body":""}')
    longest, odd = divmod(4096 - around, 2)
    assert compose(Ping(message="x" * longest), TARGET, NOW_MS) is not None
    with pytest.raises(PayloadTooLarge, match="at most 4096"):
        compose(Ping(message="x" * (longest + 1)), TARGET, NOW_MS)
    assert odd == 0


def test_options_do_not_count_against_the_limit() -> None:
    around = len(b'{"do_sync":"","alert":""}')
    data_only = TARGET._replace(style="data")
    message = compose(Ping(message="x" * (4096 - around)), data_only, NOW_MS)
    assert message is not None and len(message.body("t")) > 4096


@pytest.fixture
def message() -> FcmMessage:
    composed = compose(Ping(message="x"), TARGET, NOW_MS)
    assert composed is not None
    return composed


def test_path_and_headers_are_those_of_the_project(message: FcmMessage) -> None:
    assert message.path(PIN) == b"/v1/projects/my-project/messages:send"
    assert message.headers == [(b"content-type", b"application/json")]
    odd = compose(Ping(message="x"), FcmTarget("example.com:pro/ject"), NOW_MS)
    assert odd is not None and odd.path(PIN) == b"/v1/projects/example.com:pro%2Fject/messages:send"


@pytest.mark.parametrize("pin", ['a"b', "a\\b", 'x","topic":"all', "ä", "a b", "\0", "x" * 4096])
def test_any_push_token_is_encoded_as_a_json_text(message: FcmMessage, pin: str) -> None:
    sent = json.loads(message.body(pin))["message"]
    assert sent["token"] == pin
    assert "topic" not in sent


@pytest.mark.parametrize("pin", ["", "x" * 4097, "a\ud800"])
def test_an_invalid_push_token_is_refused(message: FcmMessage, pin: str) -> None:
    with pytest.raises(InvalidToken, match="push token"):
        message.body(pin)
    with pytest.raises(InvalidToken, match="push token"):
        message.path(pin)  # before a lane has the delivery


def test_the_repr_of_a_message_shows_no_content(message: FcmMessage) -> None:
    assert repr(message).startswith("<FCM message, notification, ")
    assert not message.background
    assert message.expires_ms == NOW_MS + 86_400_000


@given(PINGS)
def test_a_validating_fcm_accepts_whatever_is_composed(ping: Ping) -> None:
    composed = compose(ping, TARGET, NOW_MS)
    if composed is not None:
        assert violations(json.loads(composed.body(PIN))) == []


@pytest.mark.parametrize("ping", [Ping(id="1" * 32, message="hello"), Ping(id="1" * 32, sources=("A",))])
def test_the_id_of_the_ping_is_in_the_data_where_the_setting_says_so(ping: Ping) -> None:
    sent = told(ping, TARGET._replace(include_id=True))
    assert sent["data"].pop("ping_id") == "1" * 32
    assert sent["data"] == told(ping)["data"]
    assert "ping_id" not in told(Ping(message="hello"), TARGET._replace(include_id=True))["data"]
    assert compose(Ping(id="1" * 32), TARGET._replace(include_id=True), NOW_MS) is None
