"""Hosts of URLs."""

import pytest

from protocols.fcm.credentials import check_token_uri
from protocols.hosts import is_loopback


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("LOCALHOST.", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:10.0.0.1", False),
        ("localhost.example.com", False),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
    ],
)
def test_only_loopback_addresses_are_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_a_token_server_on_a_mapped_loopback_address_needs_no_tls() -> None:
    check_token_uri("http://[::ffff:127.0.0.1]:8080/token")
