"""Signatures, with the library of the specification as the witness."""

import base64
import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from protocols.errors import InvalidCredential
from protocols.webhooks.signature import headers, key_of
from tests.support.webhooks import OTHER_SECRET, SECRET

BODY = '{"type":"ping.completed","data":["ä"]}'.encode()


def test_the_library_verifies_a_signature() -> None:
    found = headers([key_of(SECRET)], "msg_1-0_x", int(time.time()), BODY)
    assert Webhook(SECRET).verify(BODY, found)
    with pytest.raises(WebhookVerificationError):
        Webhook(OTHER_SECRET).verify(BODY, found)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(BODY + b" ", found)


def test_with_two_secrets_a_receiver_with_either_verifies() -> None:
    found = headers([key_of(SECRET), key_of(OTHER_SECRET)], "msg_1-0_x", int(time.time()), BODY)
    for secret in (SECRET, OTHER_SECRET):
        assert Webhook(secret).verify(BODY, found)


def test_the_signature_of_the_specification_s_example_is_reproduced() -> None:
    key = key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    found = headers([key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert found["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_without_a_key_there_is_no_signature() -> None:
    assert headers([], "id", 1, b"") == {"webhook-id": "id", "webhook-timestamp": "1"}


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "whsec_!!",
        SECRET.removeprefix("whsec_"),
        "whsec_" + base64.b64encode(bytes(23)).decode(),
    ],
)
def test_what_is_no_secret_is_refused_without_being_shown(secret: str) -> None:
    with pytest.raises(InvalidCredential) as caught:
        key_of(secret)
    assert not secret.removeprefix("whsec_") or secret.removeprefix("whsec_") not in caught.value.message
