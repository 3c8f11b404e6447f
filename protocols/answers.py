"""What the answers of all providers have in common: a name for the reason, and when to come back."""

import re
from collections.abc import Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Final

Header = tuple[bytes, bytes]

# A day. More is a mistake: kept to, it would end every ping at once, as most live no longer.
RETRY_AFTER_MAX_S: Final = 86_400.0
_REASON: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")  # what a receipt shows of it
STATUS_REASONS: Final = frozenset(
    f"HTTP {status}"
    for status in (400, 401, 403, 404, 405, 408, 409, 410, 413, 415, 421, 429, 431, 500, 501, 502, 503, 504)
)
"""What `reason_or_status` gives for the statuses that providers and the proxies in front of them use (RFC 9110 §15, RFC
6585)."""
_DATE_BYTES_MAX: Final = 64
"""Of a date: RFC 9110's longest form has 33."""
_SECONDS: Final = re.compile(rb"\d{1,10}")


def reason_or_status(reason: Any, status: int) -> str:
    """Give a provider's name of a reason if it looks like one, else "HTTP 503"."""
    return reason if type(reason) is str and _REASON.fullmatch(reason) else f"HTTP {status}"


def retry_after_s(headers: Sequence[Header], now_s: float | None) -> float | None:
    """Read Retry-After, seconds or a date (RFC 9110 §10.2.3), as seconds from now, from 0 to one day.

    Returns:
        None where there is none, or none that can be understood (a date without `now_s`) or believed (of more
        than a day).
    """
    for name, value in headers:
        if name == b"retry-after":
            return _delay_s(value.strip(), now_s)
    return None


def _delay_s(value: bytes, now_s: float | None) -> float | None:
    if _SECONDS.fullmatch(value):
        delay_s = float(value)
    elif now_s is None or len(value) > _DATE_BYTES_MAX:
        return None
    else:
        try:
            at = parsedate_to_datetime(value.decode("ascii"))
            # Without a zone it is UTC, as every HTTP date, not this machine's time.
            delay_s = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now_s
        except (ValueError, OverflowError, TypeError, IndexError):  # of a date far off, or of none
            return None
    return max(delay_s, 0.0) if delay_s <= RETRY_AFTER_MAX_S else None
