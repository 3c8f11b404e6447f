"""Overlay of one settings layer on another.

A layer is a tree of plain values. The upper layer wins key by key. A key may also displace keys of the lower layer that
configure the same thing in another way: a certificate replaces the key that another layer configures.
"""

from collections.abc import Mapping
from typing import Any, Final

from gateway.settings.provider_settings import ProviderSettings

Tree = Mapping[str, Any]
Displacements = Mapping[str, tuple[str, ...]]
"""Keys of one level of a tree, and the keys of the same level that each displaces."""

_DISPLACED: Final[Displacements] = {"redis": ("documents",)}
"""The rule of the whole tree: one address from the environment replaces all addresses of the file (contract §7)."""
_NO_SECTIONS: Final[Mapping[str, type[ProviderSettings]]] = {}


def overlay(
    below: Tree, above: Tree, sections: Mapping[str, type[ProviderSettings]] = _NO_SECTIONS
) -> dict[str, Any]:
    """Return the union of both trees; `above` wins. A null displaces nothing.

    Args:
        below: the weaker layer.
        above: the stronger layer.
        sections: the sections of providers, at any level of the tree; each displaces settings by its own rules.
    """
    return _merged(below, above, sections, _DISPLACED)


def _merged(
    below: Tree, above: Tree, sections: Mapping[str, type[ProviderSettings]], displacements: Displacements
) -> dict[str, Any]:
    displaced = {
        name for key, value in above.items() if value is not None for name in displacements.get(key, ())
    }
    merged = {key: value for key, value in below.items() if key not in displaced}
    for key, value in above.items():
        beneath = merged.get(key)
        if isinstance(beneath, Mapping) and isinstance(value, Mapping):
            own = sections[key].displaced() if key in sections else {}
            merged[key] = _merged(beneath, value, sections, own)
        else:
            merged[key] = value
    return merged
