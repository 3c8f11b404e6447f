"""The limits of `to`, and the providers that it may name."""

import pytest

from gateway.delivery.audience_check import check_audience
from gateway.store import keys
from protocols.errors import BodyTooLarge, InvalidField
from protocols.ping.audience import Audience, RawToken

TOKEN = RawToken("fcm", "registration")


def test_users_devices_and_tokens_count_together() -> None:
    to = Audience(devices=("c1", "c2"), tokens=(TOKEN,))
    check_audience(to, 2, 5)
    with pytest.raises(BodyTooLarge) as refused:
        check_audience(to, 3, 5)
    assert refused.value.field == "to"


def test_lists_stand_beside_the_users_of_no_broadcast() -> None:
    check_audience(Audience(devices=("c1",)), keys.BROADCAST_USERS, 1_000_000)
    check_audience(Audience(apps=("a",)), keys.BROADCAST_USERS + 1, 1_000_000)
    with pytest.raises(BodyTooLarge) as refused:
        check_audience(Audience(devices=("c1",)), keys.BROADCAST_USERS + 1, 1_000_000)
    assert refused.value.field == "user_id"


@pytest.mark.parametrize(
    ("to", "field"),
    [
        (Audience(providers=("fcm", "ios")), "to.providers[1]"),
        (Audience(tokens=(TOKEN, RawToken("apple", "ab"))), "to.tokens[1].provider"),
    ],
)
def test_an_unknown_provider_is_named(to: Audience, field: str) -> None:
    with pytest.raises(InvalidField) as refused:
        check_audience(to, 0, 100)
    assert refused.value.field == field
    assert "apns, fcm, rhoconnect_push" in refused.value.message
