"""Addresses of an app at FCM."""

import json

import pytest

from protocols.fcm.message import FcmMessage, compose
from protocols.fcm.simulated_schema import violations
from protocols.ping import Ping
from tests.protocols.fcm.test_message import NOW_MS, PIN, TARGET


@pytest.fixture
def message() -> FcmMessage:
    composed = compose(Ping(message="x"), TARGET, NOW_MS)
    assert composed is not None
    return composed


FID = "dGVzdC1pbnN0YWxsYXRpb2"


@pytest.mark.parametrize(
    ("pin", "target"),
    [
        (FID, "fid"),
        ("c" + FID[1:], "fid"),
        ("f" + "-_" * 10 + "A", "fid"),
        (PIN, "token"),
        (f"{FID}:APA91bXYZ", "token"),
        (FID[:11], "token"),  # an Instance ID: FCM accepts it there
        ("b" + FID[1:], "token"),
        (FID + "x", "token"),
        (FID[:21] + "é", "token"),
        (FID[:21] + ".", "token"),
    ],
)
def test_an_installation_is_addressed_by_its_id_and_a_token_as_one(pin: str, target: str) -> None:
    message = compose(Ping(message="hello"), TARGET, NOW_MS)
    assert message is not None
    for phone_id in ("", "3"):
        sent = json.loads(message.body(pin, phone_id))["message"]
        assert {name: sent[name] for name in ("fid", "token") if name in sent} == {target: pin}
        assert violations({"message": sent}) == []
