"""Outcome of a closed stream, and the text of a GOAWAY."""

import json
import re
from typing import Final

from ngh2 import ConnectionClosingError, ErrorCode, NGH2Error

from protocols.http2.outcome import OutcomeKind

TOO_LARGE_TO_SEND: Final = 431
"""RFC 6585 §5, set locally here."""
_SAFE: Final = re.compile(r"[^A-Za-z0-9 _.:=-]")
_TEXT_MAX: Final = 80


def error_name(code: int) -> str:
    """The name of an HTTP/2 error code (RFC 9113 §7), or its number."""
    try:
        return ErrorCode(code).name
    except ValueError:
        return f"error {code:#x}"


def decide(
    status: int, ended: bool, cut: bool, error_code: int, local_error: NGH2Error | None
) -> tuple[OutcomeKind, int, str]:
    """Determine the outcome of a stream. The first matching row applies.

    | response head    | stream ended by               | outcome  | source |
    | ---------------- | ----------------------------- | -------- | ------ |
    | yes              | local reset, body over limit  | ANSWERED | local rule |
    | yes, body whole  | anything                      | ANSWERED | RFC 9113 §8.1: reset after a full answer |
    | 2xx, body broken | anything                      | ANSWERED | RFC 9110 §15.3: it was accepted |
    | no               | a local engine error          | ANSWERED | never sent, never will be: status 431 |
    | no               | REFUSED_STREAM, or by GOAWAY  | UNTRIED  | RFC 9113 §8.7, §6.8 |
    | any              | anything else                 | UNKNOWN  | it may have been processed |

    Returns:
        Kind, status and reason of the outcome.
    """
    if status and (cut or ended or 200 <= status < 300):
        return OutcomeKind.ANSWERED, status, "body cut" if cut else ""
    if local_error is not None and not isinstance(local_error, ConnectionClosingError):
        return OutcomeKind.ANSWERED, TOO_LARGE_TO_SEND, f"not sent: {local_error}"
    if error_code == ErrorCode.REFUSED_STREAM and not status:
        return OutcomeKind.UNTRIED, 0, "refused"
    return OutcomeKind.UNKNOWN, 0, f"reset {error_name(error_code)}"


def goaway_text(code: int, debug_data: bytes) -> str:
    """A GOAWAY as a short, printable line: the `reason` of APNs' JSON, other debug text, or the code's name."""
    try:
        debug = json.loads(debug_data)
        text = str(debug["reason"])
    except (ValueError, KeyError, TypeError, RecursionError):
        text = debug_data.decode("latin-1")
    text = _SAFE.sub("", text[: 4 * _TEXT_MAX])[:_TEXT_MAX].strip()
    return f"GOAWAY {error_name(code)} {text}".strip()
