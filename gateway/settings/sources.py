"""RhoConnect's `:sources:`, as far as push needs them (contract §5, §8)."""

from collections.abc import Mapping
from typing import Any

from gateway.errors import BadSetting
from gateway.settings.model import Source


def read(listed: Any, section: Mapping[str, Any]) -> dict[str, Source]:
    """The sources by name.

    Args:
        listed: what stands below `:sources:`, keys without colons; None: no sources.
        section: what stands below the environment: the default of `push_notify` is there.

    Raises:
        BadSetting: no mapping of mappings.
    """
    if listed is None:
        return {}
    if not isinstance(listed, Mapping):
        raise BadSetting("sources: expected a mapping by source name", field="sources")
    default = section.get("push_notify_default", section.get("push_notify"))
    return {name: _source(name, entry, default) for name, entry in listed.items()}


def _source(name: str, entry: Any, default: Any) -> Source:
    if entry is None:
        entry = {}
    if not isinstance(entry, Mapping):
        raise BadSetting(f"sources.{name}: expected a mapping", field=f"sources.{name}")
    forced = _true(entry.get("force_default"))
    said = default if forced or "push_notify" not in entry else entry["push_notify"]
    return Source(str(entry.get("partition_type", "user")).removeprefix(":"), _true(said))


def _true(value: Any) -> bool:
    """RhoConnect's own test: true, or the text 'true'."""
    return value is True or value == "true"
