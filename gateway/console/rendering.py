"""The templates of the console's pages, rendered by Jinja with automatic escaping."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import CodeType
from typing import Any, Final
from urllib.parse import quote

from jinja2 import BytecodeCache, Environment, PackageLoader, StrictUndefined
from jinja2.bccache import Bucket

from gateway.console.name_lists import quoted

_MS_MAX: Final = 253_402_300_800_000
"""The end of the year 9999."""


class Renderer:
    """All templates, compiled.

    Args:
        values: the values that every template has.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._environment = Environment(
            loader=PackageLoader("gateway.console"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            bytecode_cache=_ProcessCache(),
        )
        self._environment.globals |= values
        self._environment.filters |= {
            "instant": instant,
            "timestamp": timestamp,
            "size": size,
            "duration": duration,
            "number": number,
            "quoted": quoted,
            "rate": rate,
            "segment": segment,
        }
        self._environment.tests["about"] = is_about
        for name in self._environment.list_templates():
            self._environment.get_template(name)

    def render(self, name: str, values: Mapping[str, Any]) -> str:
        """Return the text of a template with these values.

        Raises:
            jinja2.TemplateError: there is no such template, or it uses a value that it does not get.
        """
        return self._environment.get_template(name).render(values)


class _ProcessCache(BytecodeCache):
    """Compiles each template once in a process, which may have several consoles one after the other."""

    _codes: Final[dict[tuple[str, str], CodeType | None]] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Set the code of a template if it was compiled before."""
        bucket.code = self._codes.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Store the code of a template."""
        self._codes[bucket.key, bucket.checksum] = bucket.code


def instant(ms: float | None) -> str:
    """Return epoch ms as a time in UTC; "" for none."""
    if ms is None or not 0 < ms < _MS_MAX:
        return ""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def timestamp(text: str | None) -> str:
    """Return an ISO 8601 time in the form of `instant`; "" for none.

    A text without a zone, or of another form, is returned as it is: RhoConnect's times may be any text.
    """
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        return text or ""
    return (text or "") if found.tzinfo is None else instant(found.timestamp() * 1000)


def is_about(error: object, fields: Sequence[str]) -> bool:
    """Return whether an error names one of these fields, or a part of one (`to.tokens[0]` of `to.tokens`)."""
    named = getattr(error, "field", None) or ""
    return any(named == one or named.startswith((f"{one}.", f"{one}[")) for one in fields)


def size(count: float) -> str:
    """Return a number of bytes with its unit."""
    for suffix in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {suffix}"
        count /= 1024
    return f"{count:.1f} GiB"


def duration(seconds: float) -> str:
    """Return a number of seconds in the largest suitable unit."""
    if not math.isfinite(seconds):
        return ""
    for limit, divisor, suffix in ((120, 1, "s"), (7_200, 60, "min"), (172_800, 3_600, "h")):
        if abs(seconds) < limit:
            return f"{seconds / divisor:.0f} {suffix}"
    return f"{seconds / 86_400:.0f} d"


def segment(text: str) -> str:
    """Return a text as one segment of a path."""
    return quote(text.encode("utf-8", "surrogatepass"), safe="")


def number(value: float) -> str:
    """Return a number with a separator of thousands."""
    return f"{value:,.0f}"


def rate(value: float) -> str:
    """Return a number with a decimal place if it is small and not whole."""
    return number(value) if value >= 100 or value == int(value) else f"{value:.1f}"
