"""Valid messages, and the violations in others, field by field."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.fcm.simulated_schema import REQUEST, payload_size, plain, violations


def found(message: Any, **beside: Any) -> list[str]:
    """The fields with violations."""
    return [item.field for item in violations(plain({"message": message, **beside}))]


def android(**fields: Any) -> dict[str, Any]:
    return {"token": "x", "android": fields}


def shown(**fields: Any) -> dict[str, Any]:
    return android(notification=fields)


RIGHT: list[Any] = [
    {"token": "x"},
    {"fid": "x"},
    {"topic": "news"},
    {"condition": "'a' in topics"},
    {"token": "x", "data": {"alert": "hi", "from_me": "1", "fromage": "brie"}},
    {"token": "x", "notification": {"title": "t", "body": "b", "image": "i"}},
    {"token": "x", "android": None},
    android(priority="high", ttl="0s", collapse_key="k", restricted_package_name="p"),
    android(priority="NORMAL", ttl="2419200s", data={"a": "b"}),
    android(ttl="3.5s", direct_boot_ok=True, fcm_options={"analytics_label": "l"}),
    {"token": "x", "android": {"collapseKey": "k", "restrictedPackageName": "p"}},
    shown(title="t", sound="s", tag="g", notification_count=3, vibrate_timings=["0s", "2s"]),
    shown(notification_count="3", visibility="PUBLIC", proxy="allow", sticky=False),
    shown(event_time="2026-11-24T13:00:00Z", notification_priority="PRIORITY_HIGH", body_loc_args=["a"]),
    shown(light_settings={"color": {"red": 1, "green": 0.5, "blue": 0}, "light_on_duration": "1s"}),
    {"token": "x", "apns": {"headers": {"apns-priority": "5"}, "payload": {"aps": {"anything": [1]}}}},
    {"token": "x", "webpush": {"notification": {"title": 1}, "fcm_options": {"link": "l"}}},
    {"token": "x", "data": {"alert": "x" * (4096 - 12)}},
]

WRONG: list[tuple[Any, list[str]]] = [
    (None, ["message"]),
    ({}, ["message"]),
    ({"data": {"a": "b"}}, ["message"]),
    ({"token": "x", "topic": "y"}, ["message"]),
    ({"token": ""}, ["message"]),
    ({"token": 7}, ["message.token"]),
    ("text", ["message"]),
    ({"token": "x", "colour": "red"}, ["message"]),
    ({"token": "x", "data": {"n": 1}}, ["message.data"]),
    ({"token": "x", "data": {"o": {"a": "b"}}}, ["message.data"]),
    ({"token": "x", "data": []}, ["message.data"]),
    ({"token": "x", "data": {"from": "1"}}, ["message.data.from"]),
    ({"token": "x", "data": {"message_type": "1"}}, ["message.data.message_type"]),
    ({"token": "x", "data": {"google.x": "1", "gcm": "1"}}, ["message.data.google.x", "message.data.gcm"]),
    (android(data={"googlely": "1"}), ["message.android.data.googlely"]),
    (android(data={"a": 1}), ["message.android.data"]),
    (android(ttl=3600), ["message.android.ttl"]),
    (android(ttl="3600"), ["message.android.ttl"]),
    (android(ttl="-1s"), ["message.android.ttl"]),
    (android(ttl="2419201s"), ["message.android.ttl"]),
    (android(priority="urgent"), ["message.android.priority"]),
    (android(direct_boot_ok="yes"), ["message.android.direct_boot_ok"]),
    (android(vibrate="1"), ["message.android"]),
    (shown(vibrate="1"), ["message.android.notification"]),
    (shown(body=5), ["message.android.notification.body"]),
    (shown(notification_count=1.5), ["message.android.notification.notification_count"]),
    (shown(notification_count=2**31), ["message.android.notification.notification_count"]),
    (shown(notification_count=True), ["message.android.notification.notification_count"]),
    (shown(vibrate_timings=["2000"]), ["message.android.notification.vibrate_timings"]),
    (shown(event_time="today"), ["message.android.notification.event_time"]),
    (
        shown(light_settings={"color": {"red": "1"}}),
        ["message.android.notification.light_settings.color.red"],
    ),
    (shown(title_loc_args=[1]), ["message.android.notification.title_loc_args"]),
    ({"token": "x", "notification": "hello"}, ["message.notification"]),
    ({"token": "x", "notification": {"sound": "s"}}, ["message.notification"]),
    ({"token": "x", "apns": {"headers": {"apns-priority": 5}}}, ["message.apns.headers"]),
    ({"token": "x", "data": {"alert": "x" * (4097 - 12)}}, ["message"]),
    ({"topic": "x", "data": {"alert": "x" * 2048}}, ["message"]),
]


@pytest.mark.parametrize("message", RIGHT)
def test_a_valid_message_has_no_violations(message: Any) -> None:
    assert found(message, validate_only=True) == []


@pytest.mark.parametrize(("message", "fields"), WRONG)
def test_each_violation_is_named(message: Any, fields: list[str]) -> None:
    assert found(message) == fields


def test_a_body_must_be_an_object_with_known_fields() -> None:
    assert [item.field for item in violations([])] == [""]
    assert found({"token": "x"}, dry_run=True) == [""]
    assert found({"token": "x"}, validate_only="yes") == ["validate_only"]


def test_names_inside_free_maps_are_left_alone() -> None:
    given_ = {"message": {"data": {"camelCase": "1"}, "apns": {"payload": {"someKey": 1}}, "fcmOptions": {}}}
    assert plain(given_) == {
        "message": {"data": {"camelCase": "1"}, "apns": {"payload": {"someKey": 1}}, "fcm_options": {}}
    }


def test_the_size_counts_data_and_notification_as_compact_json() -> None:
    message = {
        "token": "x" * 999,
        "data": {"a": "é"},
        "android": {"notification": {"body": "b"}, "ttl": "1s"},
    }
    assert payload_size(message) == len('{"a":"é"}'.encode()) + len('{"body":"b"}')


NAMES = ["message", "token", "android", "notification", "data", "ttl", "priority", "light_settings", "color"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_any_json_has_a_list_of_violations(value: Any) -> None:
    assert all(item.description for item in violations(plain(value, REQUEST)))
