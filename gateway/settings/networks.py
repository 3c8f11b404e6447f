"""The addresses and networks of `http.trusted_proxies`."""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

Network = IPv4Network | IPv6Network

_MAPPED: Final = IPv6Network("::ffff:0:0/96")


class InvalidNetwork(ValueError):
    """An entry is neither an IP address nor a network in CIDR notation. The message names it."""


def networks(entries: Iterable[str]) -> tuple[Network, ...]:
    """Return the networks of the entries; a single address is a network of one address.

    Raises:
        InvalidNetwork: an entry is neither an address nor a network, or has bits set beyond its prefix.
    """
    return tuple(_network(entry.strip()) for entry in entries)


def _network(entry: str) -> Network:
    try:
        return _unmapped(ip_network(entry))
    except ValueError:
        pass
    try:
        meant = ip_network(entry, strict=False)
    except ValueError as error:
        raise InvalidNetwork(
            f"{entry!r} is neither an IP address nor a network such as 10.0.0.0/8"
        ) from error
    raise InvalidNetwork(f"{entry!r} has bits set beyond its prefix; the network is {meant}")


def _unmapped(network: Network) -> Network:
    """Return IPv4-mapped IPv6 networks (RFC 4291 §2.5.5.2) as IPv4, since peers' addresses are compared in this
    form."""
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        return IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - _MAPPED.prefixlen))
    return network
