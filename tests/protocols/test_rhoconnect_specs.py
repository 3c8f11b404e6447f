"""RhoConnect's own push specs, and intended differences, as tables over the rules (contract §3.1, §10).

Each row is one example of spec/jobs/ping_job_spec.rb, spec/ping/apple_spec.rb, fcm_spec.rb, gcm_spec.rb,
rhoconnect_push_spec.rb, spec/api/user/ping_spec.rb or spec/source_sync_spec.rb: the content of the registry, the
request, and the message that each device gets. The gateway's tests cover examples that need a network, a log or
settings.
"""

import json
from typing import Any, NamedTuple

import msgspec
import pytest

from gateway.delivery.provider_registry import installed
from protocols.apns.message import ApnsTarget as AppleTarget
from protocols.apns.message import compose as apple
from protocols.apns.verdicts import judge as judge_apple
from protocols.devices import Device, select
from protocols.errors import InvalidField, MalformedBody
from protocols.fcm.message import FcmTarget
from protocols.fcm.message import compose as fcm
from protocols.fcm.verdicts import judge as judge_fcm
from protocols.ping import Ping, from_form, from_json, from_params
from protocols.rhoconnect_push.message import RhoConnectPushTarget
from protocols.rhoconnect_push.message import compose as rhoconnect_push
from protocols.rhoconnect_push.verdicts import judge as judge_rhoconnect_push
from protocols.verdict import VerdictKind

DEVICE_TYPES = installed().device_types
NOW_MS = 1_700_000_000_000
U, U1 = "testuser", "testuser1"

# The fixture: each user has one Apple client that never synced.
C = Device("c", "Apple", "", "abcd")
C1 = Device("c1", "Apple", "", "abcde")


def but(device: Device, **changes: Any) -> Device:
    changed: Device = msgspec.structs.replace(device, **changes)
    return changed


class Spec(NamedTuple):
    """A row: devices by user, the users that the ping names, and the result."""

    title: str
    registry: dict[str, list[Device]]
    users: Any
    sent: list[tuple[str, str]]  # platform and push token, in order
    skipped: dict[str, int]


PING_JOB = [
    Spec("one Apple client", {U: [C]}, U, [("apns", "abcd")], {}),
    Spec(
        "an unknown device type is dropped",
        {U: [but(C, device_type="unknown_device_type")]},
        U,
        [],
        {"unsupported_platform": 1},
    ),
    Spec("no device type: not registered", {U: [but(C, device_type="")]}, U, [], {"unregistered": 1}),
    Spec(
        "Android without a pin: not registered",
        {U: [but(C, device_type="Android", pin="")]},
        U,
        [],
        {"unregistered": 1},
    ),
    Spec(
        "three clients with one pin",
        {U: [C, but(C, client_id="c2"), but(C, client_id="c3")]},
        U,
        [("apns", "abcd")],
        {"repeated": 2},
    ),
    Spec(
        "three clients on one phone",
        {U: [but(C, client_id=f"c{n}", pin=f"{n}", phone_id="3") for n in range(3)]},
        U,
        [("apns", "0")],
        {"repeated": 2},
    ),
    Spec(
        "two users, one on Apple with a phone id, one on GCM",
        {U: [but(C, phone_id="3")], U1: [but(C1, push_type="Gcm")]},
        [U, U1],
        [("apns", "abcd"), ("fcm", "abcde")],
        {},
    ),
    Spec(
        "two users, one on Apple with a phone id, one on FCM",
        {U: [but(C, phone_id="3")], U1: [but(C1, push_type="Fcm")]},
        [U, U1],
        [("apns", "abcd"), ("fcm", "abcde")],
        {},
    ),
    Spec(
        "two users of one phone",
        {U: [but(C, phone_id="3")], U1: [but(C1, phone_id="3")]},
        [U, U1],
        [("apns", "abcd")],
        {"repeated": 1},
    ),
    Spec(
        "two users with one pin",
        {U: [C], U1: [but(C1, pin="abcd")]},
        [U, U1],
        [("apns", "abcd")],
        {"repeated": 1},
    ),
    Spec("an unknown user", {U: [C]}, ["fake_user"], [], {"unknown_user": 1}),
    Spec("a known and an unknown user", {U: [C]}, ["fake_user", U], [("apns", "abcd")], {"unknown_user": 1}),
    Spec(
        "a client of the push service",
        {U: [but(C, push_type="rhoconnect_push")]},
        U,
        [("rhoconnect_push", "abcd")],
        {},
    ),
    Spec("iphone, the deprecated name", {U: [but(C, device_type="iphone")]}, U, [("apns", "abcd")], {}),
    Spec(
        "newest last sync first",
        {U: [but(C, pin="old", last_sync_ms=1), but(C, pin="new", last_sync_ms=2)]},
        U,
        [("apns", "new"), ("apns", "old")],
        {},
    ),
    # contract §10: intended difference
    Spec(
        "an empty push type is none: the device type decides",
        {U: [but(C, push_type="")]},
        U,
        [("apns", "abcd")],
        {},
    ),
    Spec(
        "an unsupported platform does not use up the phone",
        {U: [but(C, device_type="BLACKBERRY", phone_id="3", last_sync_ms=9), but(C, pin="ok", phone_id="3")]},
        U,
        [("apns", "ok")],
        {"unsupported_platform": 1},
    ),
    Spec(
        "some synced and some not: the ping does not fail",
        {U: [C, but(C, pin="synced", last_sync_ms=1)]},
        U,
        [("apns", "synced"), ("apns", "abcd")],
        {},
    ),
    Spec(
        "a gcm token goes through FCM; android and blackberry stay unsupported",
        {
            U: [
                but(C, device_type="ANDROID", push_type="gcm", pin="1"),
                but(C, device_type="ANDROID", pin="2"),
                but(C, device_type="BLACKBERRY", pin="3"),
            ]
        },
        U,
        [("fcm", "1")],
        {"unsupported_platform": 2},
    ),
    Spec("users in a nested list", {U: [C], U1: [C1]}, [[U, U1]], [("apns", "abcd"), ("apns", "abcde")], {}),
]


@pytest.mark.parametrize("spec", PING_JOB, ids=lambda spec: spec.title)
def test_ping_job(spec: Spec) -> None:
    ping = from_params({"user_id": spec.users, "message": "hello world"}).ping
    seen: set[str] = set()
    sent: list[tuple[str, str]] = []
    skipped: dict[str, int] = {}
    for user in ping.users:
        if user not in spec.registry:
            skipped["unknown_user"] = skipped.get("unknown_user", 0) + 1
            continue
        selection = select(spec.registry[user], seen, DEVICE_TYPES)
        sent += [(platform, device.pin) for device, platform in selection.chosen]
        for reason, count in selection.skipped.items():
            skipped[reason] = skipped.get(reason, 0) + count
    assert (sent, skipped) == (spec.sent, spec.skipped)


FULL = {
    "user_id": [U],
    "message": "hello world",
    "vibrate": "5",
    "badge": "5",
    "sound": "hello.mp3",
    "sources": ["SampleAdapter"],
}


def as_apple(params: dict[str, Any]) -> Any:
    message = apple(from_params(params).ping, AppleTarget("com.example.app"), NOW_MS)
    return message and json.loads(message.body("abcd"))


def as_fcm(params: dict[str, Any]) -> Any:
    message = fcm(from_params(params).ping, FcmTarget("valid_project_id", "valid.package"), NOW_MS)
    return message and json.loads(message.body("abcd"))["message"]


def as_rhoconnect_push(params: dict[str, Any]) -> Any:
    message = rhoconnect_push(from_params(params).ping, RhoConnectPushTarget(), NOW_MS)
    return message and json.loads(message.body("abcd"))


@pytest.mark.parametrize("vibrate", [5, "5"])
def test_vibrate_is_a_text_for_every_device(vibrate: Any) -> None:
    params = {**FULL, "vibrate": vibrate}
    assert as_apple(params)["aps"]["vibrate"] == "5"
    assert as_fcm(params)["data"]["vibrate"] == "5"
    assert as_rhoconnect_push(params)["data"]["vibrate"] == "5"


@pytest.mark.parametrize("sources", [["SampleAdapter"], ["SimpleAdapter", "SampleAdapter"]])
def test_apple_message(sources: list[str]) -> None:
    told = as_apple({**FULL, "sources": sources})
    rhoconnects = {"alert": "hello world", "badge": 5, "sound": "hello.mp3", "vibrate": "5"}
    assert rhoconnects.items() <= told["aps"].items()
    assert told["do_sync"] == sources


def test_fcm_message() -> None:
    told = as_fcm(FULL)
    assert told["token"] == "abcd"
    assert "topic" not in told
    assert told["android"]["priority"] == "high"
    assert told["android"]["restricted_package_name"] == "valid.package"
    rhoconnects = {"do_sync": "SampleAdapter", "alert": "hello world", "vibrate": "5", "sound": "hello.mp3"}
    assert rhoconnects.items() <= told["data"].items()
    assert told["notification"]["body"] == "hello world"


def test_fcm_message_goes_to_the_projects_path() -> None:
    message = fcm(from_params(FULL).ping, FcmTarget("valid_project_id"), NOW_MS)
    assert message is not None
    assert message.path("abcd") == b"/v1/projects/valid_project_id/messages:send"


def test_fcm_message_with_empty_parameters() -> None:
    told = as_fcm({**FULL, "message": "", "sources": []})
    assert told["data"] == {"do_sync": "", "vibrate": "5", "sound": "hello.mp3", "badge": "5"}
    assert "notification" not in told  # contract §10: RhoConnect sent one with a null body


def test_push_service_message() -> None:
    assert as_rhoconnect_push(FULL) == {
        "collapseId": 5,
        "data": {
            "do_sync": ["SampleAdapter"],
            "alert": "hello world",
            "vibrate": "5",
            "sound": "hello.mp3",
        },
    }


def test_push_service_message_with_a_message_alone_has_no_vibrate() -> None:
    assert as_rhoconnect_push({"user_id": U, "message": "hello world"}) == {
        "data": {"alert": "hello world"}
    }  # contract §10


def test_a_changed_source_pings_its_user_with_its_name() -> None:
    params = {"user_id": [U], "sources": ["SampleAdapter"]}
    assert as_rhoconnect_push(params) == {"data": {"do_sync": ["SampleAdapter"]}}
    assert as_apple(params) == {"aps": {"content-available": 1}, "do_sync": ["SampleAdapter"]}
    assert as_fcm(params)["data"] == {"do_sync": "SampleAdapter"}


@pytest.mark.parametrize(
    ("judge", "status", "kind"),
    [
        (judge_rhoconnect_push, 204, VerdictKind.ACCEPTED),
        (judge_rhoconnect_push, 400, VerdictKind.REJECTED),
        # contract §10: the others were success to RhoConnect
        (judge_rhoconnect_push, 401, VerdictKind.LATER),
        (judge_rhoconnect_push, 404, VerdictKind.REJECTED),
        (judge_rhoconnect_push, 410, VerdictKind.REJECTED),
        (judge_rhoconnect_push, 503, VerdictKind.LATER),
        (judge_fcm, 200, VerdictKind.ACCEPTED),
        (judge_fcm, 503, VerdictKind.LATER),
        (judge_fcm, 403, VerdictKind.LATER),
        (judge_fcm, 401, VerdictKind.LATER),
        (judge_apple, 200, VerdictKind.ACCEPTED),
    ],
)
def test_answers(judge: Any, status: int, kind: VerdictKind) -> None:
    assert judge(status, (), b"").kind is kind


def test_api_form_without_async() -> None:
    submission = from_form(
        b"user_id=testuser&message=hello+world&vibrate=5&badge=5&sound=hello.mp3&sources[]=SampleAdapter", ""
    )
    assert submission.ping == from_params(FULL).ping
    assert not submission.asynchronous


def test_api_form_with_async() -> None:
    assert from_form(b"user_id=testuser&async=true", "").asynchronous


# -- contract §10, differences of the parameters -------------------------------------------------------------


@pytest.mark.parametrize("body", [b"{", b"[]", b"null", b"\xef\xbb\xbf{}"])
def test_a_body_that_is_no_object_names_the_place(body: bytes) -> None:
    with pytest.raises(MalformedBody, match="byte"):
        from_json(body)


@pytest.mark.parametrize(
    ("params", "data"),
    [
        ({"sources": "Product"}, {"do_sync": "Product"}),
        ({"sources": "A,B"}, {"do_sync": "A,B"}),
        ({"sources": "all"}, {"do_sync": "all"}),
        ({"badge": 5, "message": "x"}, {"do_sync": "", "alert": "x", "badge": "5"}),
        ({"message": 7}, {"do_sync": "", "alert": "7"}),
        ({"message": "x", "async": False}, {"do_sync": "", "alert": "x"}),
        ({"message": "x", "anything": True}, {"do_sync": "", "alert": "x"}),
    ],
)
def test_content_that_broke_rhoconnects_fcm_is_accepted(params: dict[str, Any], data: dict[str, str]) -> None:
    assert as_fcm(params)["data"] == data
    assert as_apple(params) is not None
    assert as_rhoconnect_push(params) is not None


def test_async_false_means_false() -> None:
    assert not from_json(b'{"async":false}').asynchronous


def test_source_id_stands_in_for_sources() -> None:
    assert from_json(b'{"source_id":"Product"}').ping.sources == ("Product",)


def test_fields_that_are_not_understood_are_named() -> None:
    assert from_json(b'{"user_id":"bob","masage":"x"}').unknown == ("masage",)


def test_devices_do_not_change_what_the_next_one_gets() -> None:
    ping = from_params({**FULL, "sources": [], "message": ""}).ping
    before = rhoconnect_push(ping, RhoConnectPushTarget(), NOW_MS)
    fcm(ping, FcmTarget("p"), NOW_MS)
    apple(ping, AppleTarget("com.example.app"), NOW_MS)
    after = rhoconnect_push(ping, RhoConnectPushTarget(), NOW_MS)
    assert before is not None and after is not None
    assert before.body("a") == after.body("a")


def test_more_than_255_characters_and_any_alphabet_for_apple() -> None:
    told = as_apple({"message": "Grüße " * 100})
    assert told["aps"]["alert"] == "Grüße " * 100


def test_a_collapse_key_is_set_on_request_or_for_syncs_only() -> None:
    assert "collapse_key" not in as_fcm({"message": "x"})["android"]
    assert as_fcm({"message": "x", "collapse_id": "k"})["android"]["collapse_key"] == "k"
    assert as_fcm({"sources": "A"})["android"]["collapse_key"] == "sync:A"


def test_an_addition_never_chooses_the_target() -> None:
    for name in ("apns", "fcm"):
        for key in ("target", "token", "topic", "authorization"):
            with pytest.raises(InvalidField) as refused:
                from_params({name: {key: "x"}})
            assert refused.value.field == f"{name}.{key}"


def test_a_ping_without_content_is_not_sent() -> None:
    for told in (as_apple, as_fcm, as_rhoconnect_push):
        assert told({"user_id": U}) is None
    assert from_json(b'{"user_id":"bob"}').ping == Ping(users=("bob",))
