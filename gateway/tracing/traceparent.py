"""The header `traceparent` of W3C Trace Context, Level 1: trace id, id of the parent span, flags."""

import re
from typing import Final, NamedTuple

_FORM: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_UNSAMPLED: Final = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f][02468ace]")
_SAMPLED: Final = 1
_INVALID_VERSION: Final = "ff"
_FIRST_VERSION: Final = "00"


class TraceContext(NamedTuple):
    """A span of another process.

    Attributes:
        trace_id, span_id: the ids as numbers, not 0.
        sampled: whether its process records the trace.
    """

    trace_id: int
    span_id: int
    sampled: bool

    def __str__(self) -> str:
        """The header's value."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{int(self.sampled):02x}"


def is_unsampled(value: str) -> bool:
    """Return whether a value of version 00 has no sampled flag: a fast check of the most frequent case."""
    return _UNSAMPLED.fullmatch(value) is not None


def parse(value: str) -> TraceContext | None:
    """Read a value; None: it is malformed, and a new trace begins.

    A version after 00 may have further parts, which are ignored ("Versioning of traceparent").
    """
    found = _FORM.fullmatch(value)
    if found is None:
        return None
    version, trace_id, span_id, flags, further = found.groups()
    if version == _INVALID_VERSION or (further is not None and version == _FIRST_VERSION):
        return None
    context = TraceContext(int(trace_id, 16), int(span_id, 16), bool(int(flags, 16) & _SAMPLED))
    return context if context.trace_id and context.span_id else None
