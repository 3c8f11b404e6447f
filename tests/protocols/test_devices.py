"""The devices to which a ping is sent. PingJob's own specs, as a table, are in test_rhoconnect_specs.py."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.delivery.provider_registry import installed
from protocols.devices import (
    FCM,
    REPEATED,
    RHOCONNECT_PUSH,
    UNREGISTERED,
    UNSUPPORTED_PLATFORM,
    Device,
    add_skipped,
    mask,
    platform_of,
    select,
)
from protocols.push_tokens import APNS

DEVICE_TYPES = installed().device_types


@pytest.mark.parametrize(
    ("device_type", "push_type", "platform"),
    [
        ("Apple", "", APNS),
        ("APPLE", "apple", APNS),
        ("iphone", "", APNS),
        ("APPLE", "fcm", FCM),
        ("ANDROID", "fcm", FCM),
        ("ANDROID", "GCM", FCM),
        ("ANDROID", "rhoconnect_push", RHOCONNECT_PUSH),
        ("ANDROID", "rhoconnect", RHOCONNECT_PUSH),
        ("WINDOWS", "Rhoconnect_Push", RHOCONNECT_PUSH),
        ("ANDROID", "", ""),
        ("BLACKBERRY", "", ""),
        ("wp8", "", ""),
        ("Apple", "unheard of", ""),
        ("", "", None),
        ("", "apple", None),
    ],
)
def test_type_and_push_type_decide_the_provider(
    device_type: str, push_type: str, platform: str | None
) -> None:
    assert platform_of(Device("c", device_type, push_type, "ab"), DEVICE_TYPES) == platform


def apple(client_id: str, pin: str = "", phone: str = "", app: str = "", synced: int = 0) -> Device:
    return Device(client_id, "Apple", "", pin or client_id, phone, app, synced)


def ids(devices: list[Device], seen: set[str] | None = None) -> list[str]:
    return [
        chosen.device.client_id
        for chosen in select(devices, set() if seen is None else seen, DEVICE_TYPES).chosen
    ]


def test_the_last_synced_first_and_the_never_synced_last() -> None:
    assert ids([apple("never"), apple("old", synced=1), apple("new", synced=9)]) == ["new", "old", "never"]


def test_the_newest_client_of_one_device_is_selected() -> None:
    selection = select(
        [apple("a", phone="3", synced=1), apple("b", phone="3", synced=2)], set(), DEVICE_TYPES
    )
    assert [chosen.device.client_id for chosen in selection.chosen] == ["b"]
    assert selection.skipped == {REPEATED: 1}


def test_two_apps_on_one_device_are_both_selected() -> None:
    assert len(ids([apple("a", phone="3", app="x"), apple("b", phone="3", app="y")])) == 2


def test_phone_id_and_app_are_separate_parts_of_the_key() -> None:
    assert len(ids([apple("a", phone="3", app="3x"), apple("b", phone="33", app="x")])) == 2


def test_phone_ids_and_tokens_are_distinguished() -> None:
    assert len(ids([apple("a", pin="ab", phone="3"), apple("b", pin="ab")])) == 2
    assert len(ids([apple("a", pin="ab", phone="ab"), apple("b", pin="ab")])) == 2


def test_the_app_does_not_distinguish_equal_tokens() -> None:
    assert len(ids([apple("a", pin="ab", app="x"), apple("b", pin="ab", app="y")])) == 1


def test_dedupe_keys_of_one_user_count_for_the_next() -> None:
    seen: set[str] = set()
    assert ids([apple("a", pin="ab")], seen) == ["a"]
    assert ids([apple("b", pin="ab"), apple("c", pin="cd")], seen) == ["c"]


def test_an_unsupported_or_unregistered_device_does_not_use_up_the_phone_id() -> None:
    selection = select(
        [
            Device("android", "ANDROID", "", "x", "3", "", 9),
            Device("gone", "", "apple", "y", "3", "", 8),
            Device("no token", "Apple", "", "", "3", "", 7),
            apple("old", phone="3", synced=1),
        ],
        set(),
        DEVICE_TYPES,
    )
    assert [chosen.device.client_id for chosen in selection.chosen] == ["old"]
    assert selection.skipped == {UNSUPPORTED_PLATFORM: 1, UNREGISTERED: 2}


def test_no_device_at_all() -> None:
    assert select([], set(), DEVICE_TYPES) == ([], {})


@given(
    st.lists(
        st.builds(
            Device,
            client_id=st.text(max_size=3),
            device_type=st.sampled_from(["", "Apple", "ANDROID"]),
            push_type=st.sampled_from(["", "apple", "fcm", "gcm", "rhoconnect_push", "other"]),
            pin=st.sampled_from(["", "a", "b"]),
            phone_id=st.sampled_from(["", "1", "2"]),
            app_id=st.sampled_from(["", "x"]),
            last_sync_ms=st.integers(0, 3),
        )
    )
)
def test_every_device_is_chosen_or_counted_and_no_place_twice(devices: list[Device]) -> None:
    seen: set[str] = set()
    selection = select(devices, seen, DEVICE_TYPES)
    assert len(selection.chosen) + sum(selection.skipped.values()) == len(devices)
    assert len(seen) == len(selection.chosen)
    places = [(d.phone_id, d.app_id) if d.phone_id else d.pin for d, _ in selection.chosen]
    assert len(set(places)) == len(places)
    assert select(devices, seen, DEVICE_TYPES).chosen == []


def test_a_token_is_never_shown_whole() -> None:
    device = apple("c1", pin="0123456789abcdef" * 4)
    assert "0123456789abcdef" not in repr(device)
    assert repr(device) == "Device('c1', 'Apple', pin='0123…(64)')"
    assert [mask("abcd"), mask("a"), mask("")] == ["a…(4)", "…(1)", ""]


FID = "cDe_f-gH0123456789abcd"
TOKEN = f"{FID}:APA91b" + "x" * 134


def android(client_id: str, pin: str, phone: str = "", synced: int = 0) -> Device:
    return Device(client_id, "ANDROID", "fcm", pin, phone, "", synced)


@pytest.mark.parametrize(("newer", "older"), [(FID, TOKEN), (TOKEN, FID), (TOKEN, TOKEN + "y"), (FID, FID)])
def test_an_installation_that_is_registered_by_its_id_and_by_a_token_gets_one(newer: str, older: str) -> None:
    selection = select(
        [android("old", older, synced=1), android("new", newer, synced=2)], set(), DEVICE_TYPES
    )
    assert [chosen.device.pin for chosen in selection.chosen] == [newer]
    assert selection.skipped == {REPEATED: 1}


def test_an_instance_id_of_before_installations_is_one_too() -> None:
    assert len(ids([android("a", "cDe_f-gH012"), android("b", "cDe_f-gH012:APA91bXYZ", synced=1)])) == 1


@pytest.mark.parametrize("other", ["d" + TOKEN[1:], "d" + FID[1:], "x" + TOKEN, "no-fid:APA91bXYZ"])
def test_another_installation_gets_its_own(other: str) -> None:
    assert len(ids([android("a", FID), android("b", other)])) == 2


def test_tokens_of_other_forms_are_whole_texts() -> None:
    assert len(ids([android("a", "token:1"), android("b", "token:2")])) == 2


def test_omitted_devices_are_counted_by_reason() -> None:
    skipped = {"a": 1}
    add_skipped(skipped, "a", 2)
    add_skipped(skipped, "b")
    add_skipped(skipped, "c", 0)
    assert skipped == {"a": 3, "b": 1}
