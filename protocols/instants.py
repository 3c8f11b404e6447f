"""Instants as texts by RFC 3339 §5.6, in UTC with milliseconds."""

from datetime import UTC, datetime
from typing import Final

MS_MAX: Final = 253_402_300_799_999
"""The end of the year 9999 in epoch ms: the last instant that a date can show."""


def instant_text(epoch_ms: int) -> str:
    """Return an instant as a text such as 2030-01-31T09:30:00.000Z.

    Args:
        epoch_ms: epoch milliseconds. A value before 1970 is shown as its beginning, and one after the year 9999 as its
            end: a damaged value in Redis must not stop its reader.
    """
    seconds, milliseconds = divmod(min(max(0, epoch_ms), MS_MAX), 1_000)
    at = datetime.fromtimestamp(seconds, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{milliseconds:03}Z"


def ms_of_score(score: bytes) -> int:
    """Read a score of Redis' sorted sets as epoch ms, from 0 to `MS_MAX`.

    Args:
        score: a reply of Redis: a number with a fraction or an exponent, or `inf`.
    """
    return int(min(max(0.0, float(score)), MS_MAX))
