"""The address of a request's client, and whether the client used TLS, also behind reverse proxies.

`X-Forwarded-For` and `X-Forwarded-Proto` count only if the peer of the connection is one of `http.trusted_proxies`: any
other client can forge them. Each proxy appends the address of its own peer, so the list is read from its right end, and
the first address that is not a trusted proxy is the client's.
"""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final, NamedTuple

from aiohttp import web

from gateway.settings.networks import Network, networks

FORWARDED_FOR: Final = "X-Forwarded-For"
FORWARDED_PROTO: Final = "X-Forwarded-Proto"
_HOPS_MAX: Final = 32
"""Largest number of entries of X-Forwarded-For that are read. No chain of proxies is longer, but a header may be."""
_PREFIX_BITS: Final = 64
"""One IPv6 client has a whole /64 at its disposal (RFC 6177, RFC 7421)."""

Address = IPv4Address | IPv6Address


class ClientOrigin(NamedTuple):
    """The origin of a request.

    Attributes:
        address: address of the client in its shortest form; the peer's own text if it is not an IP address.
        hops: number of trusted proxies that forwarded the request.
    """

    address: str
    hops: int


class ClientAddresses:
    """Finds the clients behind trusted proxies.

    Args:
        trusted_proxies: the setting `http.trusted_proxies`.

    Raises:
        NotANetwork: an entry is neither an address nor a network.
    """

    def __init__(self, trusted_proxies: Iterable[str] = ()) -> None:
        self._trusted = networks(trusted_proxies)

    def client(self, peer: str, forwarded_for: Sequence[str] = ()) -> ClientOrigin:
        """Return the origin of a request.

        Args:
            peer: address of the connection's peer.
            forwarded_for: the values of X-Forwarded-For, in the order of the header fields.
        """
        address, hops = _parsed(peer), 0
        if address is None:
            return ClientOrigin(peer, 0)
        if not self._is_trusted(address):
            return ClientOrigin(str(address), 0)
        for entry in reversed(_last_entries(forwarded_for)):
            forwarded = _parsed(_without_port(entry))
            hops += 1
            if (
                forwarded is None
            ):  # "unknown", or a name: the proxy that reported it is the last known address
                break
            address = forwarded
            if not self._is_trusted(address):
                break
        return ClientOrigin(str(address), max(1, hops))

    def _is_trusted(self, address: Address) -> bool:
        return any(_contains(network, address) for network in self._trusted)


CLIENT_ADDRESSES: Final = web.AppKey("client_addresses", ClientAddresses)
"""Key of the `ClientAddresses` in the application of the HTTP API."""


def client_address(request: web.Request) -> str:
    """Return the address of the request's client, behind trusted proxies too; "" if the connection has none."""
    return _client(request).address


def used_tls(request: web.Request) -> bool:
    """Return whether the client used TLS: to this process, or to a trusted proxy according to X-Forwarded-Proto.

    If several proxies append to X-Forwarded-Proto, the value of the proxy to which the client connected counts.
    """
    if request.secure:
        return True
    hops = _client(request).hops
    protocols = [
        part.strip() for value in request.headers.getall(FORWARDED_PROTO, ()) for part in value.split(",")
    ]
    if not hops or not protocols:
        return False
    return protocols[-min(hops, len(protocols))].lower() in ("https", "wss")


def address_group(address: str) -> str:
    """Return the group of addresses that counts as one client: an IPv4 address itself, the /64 of an IPv6 address."""
    parsed = _parsed(address)
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((int(parsed) >> _PREFIX_BITS << _PREFIX_BITS, _PREFIX_BITS)))
    return address if parsed is None else str(parsed)


def _client(request: web.Request) -> ClientOrigin:
    addresses = request.config_dict[CLIENT_ADDRESSES]
    return addresses.client(request.remote or "", request.headers.getall(FORWARDED_FOR, ()))


def _last_entries(values: Sequence[str]) -> list[str]:
    joined = ",".join(values)
    entries = joined.rsplit(",", _HOPS_MAX)
    return [entry.strip() for entry in entries[-_HOPS_MAX:] if entry.strip()]


def _without_port(entry: str) -> str:
    """Strip the port that some proxies add to an entry: `192.0.2.1:80`, `[2001:db8::1]:80`, `[2001:db8::1]`."""
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    host, colon, port = entry.partition(":")
    return host if colon and port.isdigit() and "." in host else entry


def _parsed(text: str) -> Address | None:
    """Parse an address without its zone. IPv4-mapped IPv6 addresses (RFC 4291 §2.5.5.2) become IPv4 addresses."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped


def _contains(network: Network, address: Address) -> bool:
    return network.version == address.version and address in network
