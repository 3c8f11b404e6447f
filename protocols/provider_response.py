"""Common parts of all providers' responses: the name of a reason, and the time of a retry."""

import re
from collections.abc import Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Final

from protocols.headers import Header

RETRY_AFTER_MAX_S: Final = 86_400.0
"""A day. A longer delay is a mistake: it would expire every ping, since most do not live longer."""
_REASON: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
"""The form of a reason that a receipt may contain."""
STATUS_REASONS: Final = frozenset(
    f"HTTP {status}"
    for status in (400, 401, 403, 404, 405, 408, 409, 410, 413, 415, 421, 429, 431, 500, 501, 502, 503, 504)
)
"""Results of `reason_or_status` for the statuses that providers and the proxies in front of them use (RFC 9110 §15,
RFC 6585)."""
_DATE_CHARACTERS_MAX: Final = 64
"""Longest date that is parsed: RFC 9110's longest form has 33 characters."""
_SECONDS: Final = re.compile(rb"\d{1,10}")


def reason_or_status(reason: Any, status: int) -> str:
    """The provider's name of a reason if it has the form of one, else "HTTP 503"."""
    return reason if type(reason) is str and _REASON.fullmatch(reason) else f"HTTP {status}"


def retry_after_s(headers: Sequence[Header], now_s: float | None) -> float | None:
    """Parse Retry-After, seconds or a date (RFC 9110 §10.2.3), as seconds from now, from 0 to one day.

    Args:
        headers: names in lower case.
        now_s: epoch seconds, for a date in a response without Date.

    Returns:
        None if the header is missing, cannot be parsed (a date without `now_s`), or is implausible (more than a
            day).
    """
    for name, value in headers:
        if name == b"retry-after":
            # The provider's date follows its own clock, which may differ from the local one.
            sent_s = answered_s(headers)
            return _delay_s(value.strip(), now_s if sent_s is None else sent_s)
    return None


def answered_s(headers: Sequence[Header]) -> float | None:
    """Parse Date (RFC 9110 §6.6.1), the server's clock at its response, as epoch seconds; None: there is none."""
    for name, value in headers:
        if name == b"date":
            return date_s(value.decode("latin-1"))
    return None


def date_s(value: str) -> float | None:
    """Parse an HTTP date (RFC 9110 §5.6.7) as epoch seconds; None if it is not a date."""
    if len(value) > _DATE_CHARACTERS_MAX:
        return None
    try:
        date = parsedate_to_datetime(value)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()  # asctime's form names no zone
    except (ValueError, OverflowError, TypeError, IndexError):  # a date out of range, or not a date
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
