"""RhoConnect Push messages (contract §4, §9)."""

import pytest

from protocols.errors import InvalidToken, PayloadTooLarge
from protocols.ping import Ping
from protocols.rhoconnect_push.message import (
    BODY_BYTES_MAX,
    RhoConnectPushMessage,
    RhoConnectPushTarget,
    compose,
)

NOW_MS = 1_700_000_000_000


@pytest.mark.parametrize(
    ("ping", "body"),
    [
        (
            Ping(message="hello", badge=5, sound="hello.mp3", vibrate=2000, sources=("A", "B")),
            b'{"collapseId":5,"data":{"alert":"hello","sound":"hello.mp3","vibrate":"2000","do_sync":["A","B"]}}',
        ),
        (Ping(message="hello"), b'{"data":{"alert":"hello"}}'),
        (Ping(message={"any": ["json", 1]}), b'{"data":{"alert":{"any":["json",1]}}}'),
        (Ping(message="hello", title="T"), b'{"data":{"alert":"hello","title":"T"}}'),
        (Ping(sources=("Product",)), b'{"data":{"do_sync":["Product"]}}'),
        (Ping(sources=("all",), badge=0), b'{"collapseId":0,"data":{"do_sync":["all"]}}'),
        (Ping(vibrate=0), b'{"data":{"vibrate":"0"}}'),
        (Ping(sound="s"), b'{"data":{"sound":"s"}}'),
    ],
)
def test_the_content_of_a_ping_decides_the_message(ping: Ping, body: bytes) -> None:
    message = compose(ping, RhoConnectPushTarget(), NOW_MS)
    assert message is not None
    assert message.body("any") == body
    assert message.headers == [(b"content-type", b"application/json")]


@pytest.mark.parametrize(
    "ping", [Ping(), Ping(badge=5), Ping(message=""), Ping(apns={"a": 1}, fcm={"b": {}})]
)
def test_a_ping_that_shows_and_syncs_nothing_has_no_message(ping: Ping) -> None:
    assert compose(ping, RhoConnectPushTarget(), NOW_MS) is None


@pytest.fixture
def message() -> RhoConnectPushMessage:
    composed = compose(Ping(sources=("A",)), RhoConnectPushTarget(), NOW_MS)
    assert composed is not None
    return composed


def test_a_push_token_is_percent_encoded(message: RhoConnectPushMessage) -> None:
    assert message.path("6ba7b810-9dad:0cc175b9c0f1") == b"/messageQueue/6ba7b810-9dad:0cc175b9c0f1"
    assert message.path("../../x?y#z ä\r\n") == b"/messageQueue/..%2F..%2Fx%3Fy%23z%20%C3%A4%0D%0A"


def test_the_shortest_and_the_longest_pin_are_paths(message: RhoConnectPushMessage) -> None:
    assert message.path("x") == b"/messageQueue/x"
    assert message.path("x" * 512) == b"/messageQueue/" + b"x" * 512


@pytest.mark.parametrize("pin", ["", "x" * 513, "a\ud800"])
def test_an_invalid_push_token_is_refused(message: RhoConnectPushMessage, pin: str) -> None:
    with pytest.raises(InvalidToken, match="push token"):
        message.path(pin)


def test_the_repr_of_a_message_shows_no_content(message: RhoConnectPushMessage) -> None:
    assert repr(message) == "<RhoConnect Push message, 26 bytes>"
    assert message.background
    assert message.expires_ms == NOW_MS + 3_600_000


def test_the_id_of_the_ping_is_in_the_data_where_the_setting_says_so() -> None:
    ping, target = Ping(id="1" * 32, message="hello"), RhoConnectPushTarget(include_id=True)
    message = compose(ping, target, NOW_MS)
    assert message is not None
    assert message.body("any") == b'{"data":{"alert":"hello","ping_id":"%s"}}' % (b"1" * 32)
    assert compose(Ping(id="1" * 32), target, NOW_MS) is None
    plain = compose(ping, RhoConnectPushTarget(), NOW_MS)
    assert plain is not None
    assert plain.body("any") == b'{"data":{"alert":"hello"}}'


@pytest.mark.parametrize("badge", [None, 2**31 - 1])
def test_the_longest_message_is_one_that_the_service_accepts(badge: int | None) -> None:
    empty = compose(Ping(message="x", badge=badge), RhoConnectPushTarget(), NOW_MS)
    assert empty is not None
    room = BODY_BYTES_MAX - len(empty.body("any")) + 1
    longest = compose(Ping(message="x" * room, badge=badge), RhoConnectPushTarget(), NOW_MS)
    assert longest is not None
    assert len(longest.body("any")) == BODY_BYTES_MAX
    with pytest.raises(PayloadTooLarge, match=f"has {BODY_BYTES_MAX + 1} bytes; at most {BODY_BYTES_MAX} "):
        compose(Ping(message="x" * (room + 1), badge=badge), RhoConnectPushTarget(), NOW_MS)
