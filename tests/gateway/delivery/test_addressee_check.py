"""The limits of `to`, and the providers that it may name."""

import pytest

from gateway.delivery.addressee_check import check_addressees
from gateway.store import keys
from protocols.errors import BodyTooLarge, InvalidField
from protocols.ping.addressees import Addressees, RawToken

TOKEN = RawToken("fcm", "registration")


def test_users_devices_and_tokens_count_together() -> None:
    to = Addressees(devices=("c1", "c2"), tokens=(TOKEN,))
    check_addressees(to, 2, 5)
    with pytest.raises(BodyTooLarge) as refused:
        check_addressees(to, 3, 5)
    assert refused.value.field == "to"


def test_lists_stand_beside_the_users_of_no_broadcast() -> None:
    check_addressees(Addressees(devices=("c1",)), keys.BROADCAST_USERS, 1_000_000)
    check_addressees(Addressees(apps=("a",)), keys.BROADCAST_USERS + 1, 1_000_000)
    with pytest.raises(BodyTooLarge) as refused:
        check_addressees(Addressees(devices=("c1",)), keys.BROADCAST_USERS + 1, 1_000_000)
    assert refused.value.field == "user_id"


@pytest.mark.parametrize(
    ("to", "field"),
    [
        (Addressees(providers=("fcm", "ios")), "to.providers[1]"),
        (Addressees(tokens=(TOKEN, RawToken("apple", "ab"))), "to.tokens[1].provider"),
    ],
)
def test_an_unknown_provider_is_named(to: Addressees, field: str) -> None:
    with pytest.raises(InvalidField) as refused:
        check_addressees(to, 0, 100)
    assert refused.value.field == field
    assert "apns, fcm, rhoconnect_push" in refused.value.message
