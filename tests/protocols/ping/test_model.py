"""The type of all pings."""

import pytest

from protocols.ping.addressees import Addressees, RawToken
from protocols.ping.model import Ping


@pytest.mark.parametrize(
    ("ping", "number"),
    [
        (Ping(), 0),
        (Ping(users=("bob", "eve")), 2),
        (Ping(users=("bob",), to=Addressees(devices=("c1", "c2"), tokens=(RawToken("apns", "ab", ""),))), 4),
        (Ping(to=Addressees(apps=("shop",))), 0),
    ],
)
def test_the_recipients_that_a_ping_names(ping: Ping, number: int) -> None:
    assert ping.named == number
