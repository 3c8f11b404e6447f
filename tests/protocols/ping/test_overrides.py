"""Raw additions: permitted and refused keys."""

from typing import Any

import pytest

from protocols.errors import InvalidField
from protocols.ping import overrides


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"topic": "x"}, "apns.topic"),
        ({"apns-topic": "x"}, "apns.apns-topic"),
        ({"apnsTopic": "x"}, "apns.apnsTopic"),
        ({"TOKEN": "x"}, "apns.TOKEN"),
        ({"device_token": "x"}, "apns.device_token"),
        ({"target": "x"}, "apns.target"),
        ({"Authorization": "x"}, "apns.Authorization"),
        ({"headers": {"apns-topic": "x"}}, "apns.headers"),
        ({"aps": []}, "apns.aps"),
        ({"aps": None}, "apns.aps"),
        ([], "apns"),
        (5, "apns"),
        ("no json", "apns"),
        ("[]", "apns"),
        ({"x": 2**70}, "apns"),
    ],
)
def test_apns_refusals_name_the_path(value: Any, path: str) -> None:
    with pytest.raises(InvalidField) as refused:
        overrides.apns(value, "apns")
    assert refused.value.field == path
    assert refused.value.message.startswith(path)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"token": "x"}, "fcm.token"),
        ({"topic": "x"}, "fcm.topic"),
        ({"condition": "x"}, "fcm.condition"),
        ({"fid": "x"}, "fcm.fid"),
        ({"message": {"token": "x"}}, "fcm.message"),
        ({"validateOnly": True}, "fcm.validate_only"),
        ({"android": {"restrictedPackageName": "x"}}, "fcm.android.restricted_package_name"),
        ({"android": {"restricted_package_name": "x"}}, "fcm.android.restricted_package_name"),
        ({"apns": {"headers": {"apns-topic": "x"}}}, "fcm.apns.headers.apns-topic"),
        ({"apns": {"headers": {"Authorization": "x"}}}, "fcm.apns.headers.Authorization"),
        ({"webpush": {"headers": {"Topic": "x"}}}, "fcm.webpush.headers.Topic"),
        ({"android": []}, "fcm.android"),
        ({"notification": "x"}, "fcm.notification"),
        ({"android": {"notification": 5}}, "fcm.android.notification"),
        ({"apns": {"payload": {"aps": 5}}}, "fcm.apns.payload.aps"),
        ({"data": "x"}, "fcm.data"),
        ({"data": {"n": 5}}, "fcm.data.n"),
        ({"data": {"n": None}}, "fcm.data.n"),
        ({"android": {"data": {"n": True}}}, "fcm.android.data.n"),
        ({"data": {"from": "x"}}, "fcm.data.from"),
        ({"data": {"message_type": "x"}}, "fcm.data.message_type"),
        ({"data": {"google.x": "x"}}, "fcm.data.google.x"),
        ({"data": {"gcm_y": "x"}}, "fcm.data.gcm_y"),
        ([], "fcm"),
        ("{", "fcm"),
    ],
)
def test_fcm_refusals_name_the_path(value: Any, path: str) -> None:
    with pytest.raises(InvalidField) as refused:
        overrides.fcm(value, "fcm")
    assert refused.value.field == path
    assert refused.value.message.startswith(path)


@pytest.mark.parametrize(
    "value",
    [
        {"aps": {"category": "c", "thread-id": "t"}, "own": {"topic": "mine"}},
        {"topics": ["a"], "tokens": 5},
        {"own": None},
    ],
)
def test_apns_additions_are_passed(value: dict[str, Any]) -> None:
    assert overrides.apns(value, "apns") == value


def test_apns_nulls_in_aps_are_dropped_and_the_callers_object_stays() -> None:
    value = {"aps": {"alert": None, "category": "c"}}
    assert overrides.apns(value, "apns") == {"aps": {"category": "c"}}
    assert value == {"aps": {"alert": None, "category": "c"}}


def test_fcm_names_become_snake_case_where_they_are_fcms() -> None:
    value = {
        "android": {"collapseKey": "k", "notification": {"clickAction": "OPEN", "channel_id": "c"}},
        "data": {"myKey": "v", "fromage": "brie"},
        "apns": {"headers": {"apns-priority": "5"}, "payload": {"aps": {"mutable-content": 1}, "ownKey": 1}},
        "fcmOptions": {"analyticsLabel": "l"},
    }
    assert overrides.fcm(value, "fcm") == {
        "android": {"collapse_key": "k", "notification": {"click_action": "OPEN", "channel_id": "c"}},
        "data": {"myKey": "v", "fromage": "brie"},
        "apns": {"headers": {"apns-priority": "5"}, "payload": {"aps": {"mutable-content": 1}, "ownKey": 1}},
        "fcm_options": {"analytics_label": "l"},
    }


def test_a_null_block_takes_nothing_away() -> None:
    assert overrides.fcm({"android": None, "notification": {"image": "https://x"}}, "fcm") == {
        "notification": {"image": "https://x"}
    }


def test_a_form_sends_additions_as_json_text() -> None:
    assert overrides.apns('{"aps":{"category":"c"}}', "apns") == {"aps": {"category": "c"}}
    assert overrides.fcm('{"data":{"k":"v"}}', "fcm") == {"data": {"k": "v"}}


def test_nothing_is_nothing() -> None:
    assert overrides.apns("", "apns") is overrides.apns({}, "apns") is None
    assert overrides.fcm("", "fcm") is overrides.fcm({}, "fcm") is None


def test_without_a_rule_of_its_own_any_object_is_an_addition() -> None:
    assert overrides.plain({"token": "x"}, "courier") == {"token": "x"}
    assert overrides.plain("", "courier") is None
    with pytest.raises(InvalidField, match="courier"):
        overrides.plain("[", "courier")
