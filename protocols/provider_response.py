"""What the answers of all providers have in common: a name for the reason, and when to come back."""

import re
from collections.abc import Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Final

from protocols.headers import Header

# A day. More is a mistake: kept to, it would end every ping at once, as most live no longer.
RETRY_AFTER_MAX_S: Final = 86_400.0
_REASON: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")  # what a receipt shows of it
STATUS_REASONS: Final = frozenset(
    f"HTTP {status}"
    for status in (400, 401, 403, 404, 405, 408, 409, 410, 413, 415, 421, 429, 431, 500, 501, 502, 503, 504)
)
"""What `reason_or_status` gives for the statuses that providers and the proxies in front of them use (RFC 9110 §15, RFC
6585)."""
_DATE_CHARACTERS_MAX: Final = 64
"""Of a date: RFC 9110's longest form has 33."""
_SECONDS: Final = re.compile(rb"\d{1,10}")


def reason_or_status(reason: Any, status: int) -> str:
    """Give a provider's name of a reason if it looks like one, else "HTTP 503"."""
    return reason if type(reason) is str and _REASON.fullmatch(reason) else f"HTTP {status}"


def retry_after_s(headers: Sequence[Header], now_s: float | None) -> float | None:
    """Read Retry-After, seconds or a date (RFC 9110 §10.2.3), as seconds from now, from 0 to one day.

    Args:
        headers: names in lower case.
        now_s: epoch seconds, for a date in an answer without Date.

    Returns:
        None where there is none, or none that can be understood (a date without `now_s`) or believed (of more
        than a day).
    """
    for name, value in headers:
        if name == b"retry-after":
            # The provider's date is by its own clock, which ours need not agree with.
            sent_s = answered_s(headers)
            return _delay_s(value.strip(), now_s if sent_s is None else sent_s)
    return None


def answered_s(headers: Sequence[Header]) -> float | None:
    """Read Date (RFC 9110 §6.6.1), the server's clock when it answered, as epoch seconds; None: there is none."""
    for name, value in headers:
        if name == b"date":
            return date_s(value.decode("latin-1"))
    return None


def date_s(value: str) -> float | None:
    """Read a date of HTTP (RFC 9110 §5.6.7) as epoch seconds; None where it is no date."""
    if len(value) > _DATE_CHARACTERS_MAX:
        return None
    try:
        date = parsedate_to_datetime(value)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()  # asctime's form names no zone
    except (ValueError, OverflowError, TypeError, IndexError):  # a date far off, or no date at all
        return None


def _delay_s(value: bytes, now_s: float | None) -> float | None:
    if _SECONDS.fullmatch(value):
        delay_s = float(value)
    elif now_s is None:
        return None
    else:
        until_s = date_s(value.decode("latin-1"))
        if until_s is None:
            return None
        delay_s = until_s - now_s
    return max(delay_s, 0.0) if delay_s <= RETRY_AFTER_MAX_S else None
