"""Hosts of URLs."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether a host of a URL names this machine by an address of its loopback interface, or as `localhost`.

    RFC 6761 §6.3, RFC 1122 §3.2.1.3, RFC 4291 §2.5.3; also such an IPv4 address in its IPv6 form (RFC 4291 §2.5.5.2).
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.lower().rstrip(".") == "localhost"
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback  # Python before 3.13 does not look into mapped addresses
