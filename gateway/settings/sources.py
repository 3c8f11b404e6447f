"""RhoConnect's `:sources:`, reduced to the properties that push needs (contract §5, §8)."""

from collections.abc import Mapping
from typing import Any

from gateway.errors import BadSetting
from gateway.settings.model import Source


def read(listed: Any, section: Mapping[str, Any]) -> dict[str, Source]:
    """Return the sources by name.

    Args:
        listed: the content of `:sources:`, keys without colons; None: no sources.
        section: the content of the environment, which has the default of `push_notify`.

    Raises:
        BadSetting: the content is not a mapping of mappings.
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
    push_notify = default if forced or "push_notify" not in entry else entry["push_notify"]
    return Source(str(entry.get("partition_type", "user")).removeprefix(":"), _true(push_notify))


def _true(value: Any) -> bool:
    """Return whether a value is true by RhoConnect's own rule: true, or the text 'true'."""
    return value is True or value == "true"
