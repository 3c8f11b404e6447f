"""Stored words of earlier versions, and their present meaning."""

import pytest

from gateway.store.former_words import INGRESSES, former_lane_name, present_provider


@pytest.mark.parametrize(
    ("stored", "present"),
    [
        ("rps", "rhoconnect_push"),
        ("rhoconnect_push", "rhoconnect_push"),
        ("apns", "apns"),
        ("fcm", "fcm"),
        ("", ""),
    ],
)
def test_a_stored_provider_has_its_present_name(stored: str, present: str) -> None:
    assert present_provider(stored) == present


@pytest.mark.parametrize(
    ("name", "former"),
    [
        ("rhoconnect_push", "rps"),
        ("rhoconnect_push:push.example:8675", "rps:push.example:8675"),
        ("apns:ABC123DEFG", "apns:ABC123DEFG"),
        ("fcm:rhoconnect_push", "fcm:rhoconnect_push"),
        ("apns:cert:rhoconnect_push:x", "apns:cert:rhoconnect_push:x"),
    ],
)
def test_only_a_lane_of_rhoconnect_push_has_a_former_name(name: str, former: str) -> None:
    assert former_lane_name(name) == former


def test_ingresses_that_had_another_name() -> None:
    assert INGRESSES == {"rest": "http", "event": "change_events"}
