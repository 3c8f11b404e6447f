"""Content of a ping."""

from typing import Any

import pytest

from protocols.ping import Ping
from protocols.ping.content import Alert, alert_of, expires_ms, has_message, merged, shows

NOW_MS = 1_700_000_000_000


@pytest.mark.parametrize(
    ("message", "title", "alert"),
    [
        ("hello", None, Alert(None, "hello")),
        ("hello", "T", Alert("T", "hello")),
        (None, "T", Alert("T", None)),
        ("", "T", Alert("T", None)),
        (None, None, None),
        ({}, None, None),
        ([], None, None),
        (0, None, Alert(None, "0")),
        (False, None, Alert(None, "false")),
        (5.5, None, Alert(None, "5.5")),
        (["a", 1], None, Alert(None, '["a",1]')),
        ({"own": 1}, None, Alert(None, '{"own":1}')),
        ({"title": "a", "body": "b"}, None, Alert("a", "b")),
        ({"body": "b"}, "T", Alert("T", "b")),
        ({"body": "b"}, None, Alert(None, "b")),
        ({"title": "a"}, None, Alert("a", None)),
        ({"title": "a", "body": 5}, "T", Alert("a", "5")),
        ({"loc-key": "K"}, None, None),
    ],
)
def test_displayed_text_of_a_ping(message: Any, title: str | None, alert: Alert | None) -> None:
    assert alert_of(Ping(message=message, title=title)) == alert


@pytest.mark.parametrize(
    ("ping", "shown"),
    [
        (Ping(message="x"), True),
        (Ping(title="x"), True),
        (Ping(badge=0), True),
        (Ping(sound="x"), True),
        (Ping(message={"loc-key": "K"}), True),
        (Ping(message=""), False),
        (Ping(message=[]), False),
        (Ping(vibrate=5), False),
        (Ping(sources=("A",)), False),
        (Ping(), False),
    ],
)
def test_pings_that_a_person_notices(ping: Ping, shown: bool) -> None:
    assert shows(ping) is shown


def test_a_message_of_zero_is_a_message() -> None:
    assert has_message(Ping(message=0))
    assert has_message(Ping(message=False))
    assert not has_message(Ping(message={}))


def test_times_to_live_count_from_acceptance() -> None:
    accepted = Ping(message="x", accepted_ms=NOW_MS - 5_000)
    assert expires_ms(accepted, 60, 10, NOW_MS) == NOW_MS + 55_000
    assert expires_ms(Ping(sources=("A",)), 60, 10, NOW_MS) == NOW_MS + 10_000
    assert expires_ms(Ping(message="x", ttl_s=7), 60, 10, NOW_MS) == NOW_MS + 7_000
    assert expires_ms(Ping(message="x", ttl_s=0), 60, 10, NOW_MS) == NOW_MS


def test_additions_are_merged_object_by_object_and_shared_with_no_one() -> None:
    base = {"aps": {"alert": "a", "badge": 1}, "n": 1}
    additions = {"aps": {"badge": 2, "category": "c"}, "n": {"own": {"deep": 1}}}
    result = merged(base, additions)
    assert result == {"aps": {"alert": "a", "badge": 2, "category": "c"}, "n": {"own": {"deep": 1}}}
    assert merged(base, None) == merged(base, {}) == base
    result["aps"]["badge"] = 9
    result["n"]["own"]["deep"] = 9
    assert base == {"aps": {"alert": "a", "badge": 1}, "n": 1}
    assert additions == {"aps": {"badge": 2, "category": "c"}, "n": {"own": {"deep": 1}}}
