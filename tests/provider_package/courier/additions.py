"""The ping's parameter `courier`: raw additions to the message. No I/O: every request with a ping is parsed by it."""

from typing import Any

from protocols.errors import InvalidField
from protocols.ping.overrides import plain


def additions(value: Any, field: str) -> dict[str, Any] | None:
    """An object, or its JSON as text; None where it is empty.

    Raises:
        InvalidField: it is not an object, or has `url`, which the device's token determines.
    """
    found = plain(value, field)
    if found is not None and "url" in found:
        raise InvalidField(f"{field}.url cannot be set by an addition", field=f"{field}.url")
    return found
