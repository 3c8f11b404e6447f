"""The entries of `http.trusted_proxies`."""

from ipaddress import ip_network

import pytest

from gateway.settings.networks import InvalidNetwork, networks


@pytest.mark.parametrize(
    ("entry", "network"),
    [
        ("10.0.0.1", "10.0.0.1/32"),
        (" 10.0.0.0/8 ", "10.0.0.0/8"),
        ("::1", "::1/128"),
        ("fd00::/8", "fd00::/8"),
        ("::ffff:10.0.0.1", "10.0.0.1/32"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("0.0.0.0/0", "0.0.0.0/0"),
    ],
)
def test_addresses_and_networks(entry: str, network: str) -> None:
    assert networks([entry]) == (ip_network(network),)


@pytest.mark.parametrize("entry", ["", "localhost", "10.0.0", "10.0.0.0/33", "10.0.0.1:80", "*"])
def test_an_entry_that_is_neither_is_named(entry: str) -> None:
    with pytest.raises(InvalidNetwork) as refused:
        networks(["10.0.0.1", entry])
    assert repr(entry) in str(refused.value)


def test_bits_behind_the_prefix_are_refused_with_the_network_that_may_be_meant() -> None:
    with pytest.raises(InvalidNetwork, match=r"'10\.1\.2\.3/8' .* 10\.0\.0\.0/8$"):
        networks(["10.1.2.3/8"])
