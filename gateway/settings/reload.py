"""The settings that can change without a restart, and the files to watch.

A serving gateway keeps the settings on which it was built: its Redis, its sockets, its folder, and its credentials for
callers. All other settings are replaced as a whole.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from gateway.settings.model import Settings
from gateway.settings.provider_settings import ProviderSettings
from gateway.settings.webhooks import ca_files

RELOADABLE: Final = (
    "apps",
    "webhooks",
    "retry",
    "ping",
    "limits",
    "receipts",
    "drain_s",
    "sources",
    "origins",
    "warnings",
)
"""Settings, including everything below them, that a running gateway reloads, beside the sections of the providers.
docs/settings.md names the others."""

Stamp = tuple[int, int, int] | None
"""Inode, size and modification time of a file in ns; None: the file does not exist."""


class SettingsChange(NamedTuple):
    """The effect of changed settings on a running gateway.

    Attributes:
        settings: the settings in force from now on.
        needs_restart: names of changed settings that require a restart.
    """

    settings: Settings
    needs_restart: tuple[str, ...]


def merge_reloadable(old: Settings, new: Settings) -> SettingsChange:
    """Adopt the reloadable settings of `new`, keep the others, and name those that differ."""
    live = {*RELOADABLE, *new.provider_types()}
    kept = [name for name in new.__struct_fields__ if name not in live]
    needs_restart = tuple(name for name in kept if getattr(old, name) != getattr(new, name))
    return SettingsChange(
        msgspec.structs.replace(new, **{name: getattr(old, name) for name in kept}),
        tuple(_changed_below(name, getattr(old, name), getattr(new, name)) for name in needs_restart),
    )


def _changed_below(name: str, old: object, new: object) -> str:
    """Return the settings of a section that differ; the name itself if it is not a section."""
    if not isinstance(old, msgspec.Struct):
        return name
    differ = [field for field in old.__struct_fields__ if getattr(old, field) != getattr(new, field)]
    return ", ".join(f"{name}.{field}" for field in differ)


def files_of(settings: Settings) -> tuple[Path, ...]:
    """Return the files of credentials and of webhooks: one that is replaced under its old name is a new credential."""
    sections = settings.provider_types()
    parts = [app.provider(name) for app in (settings.app(""), *settings.apps.values()) for name in sections]
    files = {path for part in parts for path in _files(part)}
    return tuple(sorted(files.union(ca_files(settings.webhooks))))


def _files(part: ProviderSettings) -> Iterator[Path]:
    for name in part.__struct_fields__:
        value = getattr(part, name)
        if isinstance(value, Path):
            yield value


def stamp(path: Path) -> Stamp:
    """Return the stamp of a file, which differs after a change."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_ino, facts.st_size, facts.st_mtime_ns
