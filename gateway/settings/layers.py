"""How one layer of settings is laid over another.

A layer is a tree of plain values. The upper one wins key by key, and a key may displace others of the layer
below that mean the same thing in another way: whoever names a certificate does not want the key that was said
elsewhere.
"""

from collections.abc import Mapping
from typing import Any, Final

from gateway.settings.provider_settings import ProviderSettings

Tree = Mapping[str, Any]

_DISPLACES: Final[Mapping[str, tuple[str, ...]]] = {
    "redis": ("documents",),  # the environment's one address stands for all of the file's (contract §7)
    "key": ("key_file", "certificate_file", "certificate_passphrase"),
    "key_file": ("key", "certificate_file", "certificate_passphrase"),
    "certificate_file": ("key", "key_file", "certificate_passphrase", "topic"),  # it names its topics itself
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
    """One tree with what either says; where both say something, `above` wins. A null displaces nothing.

    Args:
        below: the weaker layer.
        above: the stronger one.
        sections: sections of providers, wherever in the tree; each adds what its own settings displace.
        displaces: what the keys of this level displace.
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
