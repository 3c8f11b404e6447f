"""What of a changed file may hold without a restart, and which files are worth a look.

A gateway that serves keeps what it was built on: its Redis, its sockets, its folder, what opens its doors.
Everything else is swapped whole.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from gateway.settings.model import Settings
from gateway.settings.provider_settings import ProviderSettings

RELOADABLE: Final = (
    "apps",
    "retry",
    "ping",
    "limits",
    "receipts",
    "drain_s",
    "sources",
    "warnings",
)
"""Settings, with all below them, that a running gateway takes over, beside the sections of the providers. The options
table names the rest."""

Stamp = tuple[int, int, int] | None
"""Inode, size and time of change of a file in ns; None: it is not there."""


class SettingsChange(NamedTuple):
    """A changed value, as far as it can hold now.

    Attributes:
        settings: what holds from now on.
        needs_restart: names of settings that have changed and need a restart.
    """

    settings: Settings
    needs_restart: tuple[str, ...]


def merge_reloadable(old: Settings, new: Settings) -> SettingsChange:
    """Take over what is live; leave the rest as it was and name it."""
    live = {*RELOADABLE, *new.provider_types()}
    kept = [name for name in new.__struct_fields__ if name not in live]
    needs_restart = tuple(name for name in kept if getattr(old, name) != getattr(new, name))
    return SettingsChange(
        msgspec.structs.replace(new, **{name: getattr(old, name) for name in kept}),
        tuple(_changed_below(name, getattr(old, name), getattr(new, name)) for name in needs_restart),
    )


def _changed_below(name: str, old: object, new: object) -> str:
    """Which of a section's settings differ; the name itself where it is no section."""
    if not isinstance(old, msgspec.Struct):
        return name
    differ = [field for field in old.__struct_fields__ if getattr(old, field) != getattr(new, field)]
    return ", ".join(f"{name}.{field}" for field in differ)


def files_of(settings: Settings) -> tuple[Path, ...]:
    """The credentials' files: one that is replaced under its old name is a new credential."""
    sections = settings.provider_types()
    parts = [app.provider(name) for app in (settings.app(""), *settings.apps.values()) for name in sections]
    return tuple(sorted({path for part in parts for path in _files(part)}))


def _files(part: ProviderSettings) -> Iterator[Path]:
    for name in part.__struct_fields__:
        value = getattr(part, name)
        if isinstance(value, Path):
            yield value


def stamp(path: Path) -> Stamp:
    """What changes when a file does."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_ino, facts.st_size, facts.st_mtime_ns
