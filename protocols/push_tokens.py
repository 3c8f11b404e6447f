"""Spellings of push tokens."""

import re
from typing import Final

APNS: Final = "apns"
_HEXADECIMAL: Final = re.compile(r"[0-9A-Fa-f\s]+", re.ASCII)


def usual_spelling(pin: str) -> str:
    """An APNs token in lower case and without the spaces with which old versions of iOS show it: the digits of a
    hexadecimal number have the same meaning in both cases. Any other text is unchanged."""
    return "".join(pin.split()).lower() if _HEXADECIMAL.fullmatch(pin) else pin
