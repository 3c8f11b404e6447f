"""Overlay of one settings layer on another.

A layer is a tree of plain values. The upper layer wins key by key. A key may also displace keys of the lower layer that
configure the same thing in another way: a certificate replaces the key that another layer configures.
"""

from collections.abc import Mapping
from typing import Any, Final

from gateway.settings.provider_settings import ProviderSettings

Tree = Mapping[str, Any]

_DISPLACES: Final[Mapping[str, tuple[str, ...]]] = {
    "redis": ("documents",),  # one address from the environment replaces all of the file's (contract §7)
    "key": ("key_file", "certificate_file", "certificate_passphrase"),
    "key_file": ("key", "certificate_file", "certificate_passphrase"),
    "certificate_file": (
        "key",
        "key_file",
        "certificate_passphrase",
        "topic",
    ),  # a certificate contains its own topics
    "environment": ("host", "port", "sandbox_host", "sandbox_port"),
    "host": ("port",),
    "sandbox_host": ("sandbox_port",),
    "credentials": ("credentials_file",),
    "credentials_file": ("credentials",),
}
_NO_SECTIONS: Final[Mapping[str, type[ProviderSettings]]] = {}


def overlay(
    below: Tree,
    above: Tree,
    sections: Mapping[str, type[ProviderSettings]] = _NO_SECTIONS,
    displaces: Mapping[str, tuple[str, ...]] = _DISPLACES,
) -> dict[str, Any]:
    """Return the union of both trees; `above` wins. A null displaces nothing.

    Args:
        below: the weaker layer.
        above: the stronger layer.
        sections: the sections of providers, at any level of the tree; each displaces settings by its own rules.
        displaces: keys of this level, and the keys that each displaces.
    """
    displaced = {name for key, value in above.items() if value is not None for name in displaces.get(key, ())}
    merged = {key: value for key, value in below.items() if key not in displaced}
    for key, value in above.items():
        beneath = merged.get(key)
        if isinstance(beneath, Mapping) and isinstance(value, Mapping):
            own = sections[key].displaced() if key in sections else {}
            merged[key] = overlay(beneath, value, sections, {**own, **_DISPLACES})
        else:
            merged[key] = value
    return merged
