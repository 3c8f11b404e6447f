"""How one layer of settings is laid over another.

A layer is a tree of plain values. The upper one wins key by key, and a key may displace others of the layer
below that mean the same thing in another way: whoever names a certificate does not want the key that was said
elsewhere.
"""

from collections.abc import Mapping
from typing import Any, Final

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


def overlay(below: Tree, above: Tree) -> dict[str, Any]:
    """One tree with what either says; where both say something, `above` wins. A null displaces nothing."""
    displaced = {
        name for key, value in above.items() if value is not None for name in _DISPLACES.get(key, ())
    }
    merged = {key: value for key, value in below.items() if key not in displaced}
    for key, value in above.items():
        beneath = merged.get(key)
        if isinstance(beneath, Mapping) and isinstance(value, Mapping):
            merged[key] = overlay(beneath, value)
        else:
            merged[key] = value
    return merged
