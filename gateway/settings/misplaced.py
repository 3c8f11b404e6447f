"""Warnings about settings of a file that have no effect, because of their place or because they are given twice.

RhoConnect's own keys stand directly below the environment, and an application may add others: no key can be refused
there or at the top level. The names of the gateway's settings are therefore recognised where they have no effect.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final

from gateway.settings.document import Document

BESIDE: Final = frozenset({"api_token", "push_server", "redis"})
"""The settings that are read beside `:gateway:`, as RhoConnect's own."""


def misplaced(file: Document, env: str, section: Mapping[str, Any], names: Collection[str]) -> list[str]:
    """Return a warning for each setting without effect.

    Args:
        file: the settings file.
        env: the environment whose part of the file applies.
        section: that part.
        names: the names of the settings and sections below `:gateway:`.
    """
    found = []
    if "sources" in section:
        where = file.where((env, "sources"))
        found.append(
            f"sources has no effect below {env}: move it to the top level, beside the environments ({where})"
        )
    for name in sorted((set(names) - BESIDE) & section.keys()):
        where = file.where((env, name))
        found.append(f"{name} has no effect below {env}: move it below gateway ({where})")
    for name in sorted(({*names, "gateway"} & file.root.keys()) - {env}):
        where = file.where((name,))
        found.append(f"{name} has no effect at the top level: move it below an environment ({where})")
    return found + _repeated(file, env)


def _repeated(file: Document, env: str) -> list[str]:
    """Return a warning for each key that a mapping has twice: as for RhoConnect, the last one applies."""
    return [
        f"{'.'.join(keys)} is given twice: line {last} replaces line {earlier} ({file.path})"
        for keys, (earlier, last) in file.repeated.items()
        if keys[0] == env or len(keys) == 1
    ]
