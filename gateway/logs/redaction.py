"""Removal of passwords, keys and complete push tokens from log lines.

Two checks: fields by their name, and every text by its form, since an exception's message has no fields.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

MASK: Final = "***"
_SHOWN: Final = 8  # enough to identify a device, useless for pushing to it

_MASKED: Final = re.compile(
    r"(password|passphrase|secret|authorization|cookie|credential|private|api_token|access_token|(^|_)key$)",
    re.I,
)
_SHORTENED: Final = re.compile(r"(token|(^|_)pin$)", re.I)
_FREE: Final = frozenset({"ping_id"})  # 32 hex digits that an operator needs in full

# A long word with letters of both cases and digits: a line of a key, and not a path.
_BASE64: Final = re.compile(
    r"(?<![\w+/=-])(?=[A-Za-z+/]*\d)(?=[a-z\d+/]*[A-Z])(?=[A-Z\d+/]*[a-z])[A-Za-z0-9+/]{60,}={0,2}(?![\w.-])"
)
_LOOKS: Final[tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...]] = (
    (re.compile(r"-----BEGIN [A-Z ]+-----.*?(-----END [A-Z ]+-----|$)", re.S), MASK),
    (re.compile(r"(?<![\w+/])MI[A-Za-z0-9+/]{2}[A-Za-z0-9+/]{40,}={0,2}"), MASK),  # DER of a key in base64
    (re.compile(r"(?<=://)[^/@\s]+(?=@)"), MASK),  # user and password of a URL
    (re.compile(r"\b(bearer|basic) \S+", re.I), rf"\1 {MASK}"),
    (re.compile(r"\bya29\.[\w.-]+"), MASK),  # an access token of Google
    # A JSON Web Token. Header and payload are bounded: in a long text, many places may look like the beginning of one.
    (re.compile(r"\beyJ[\w-]{1,512}\.[\w-]{1,4096}\.[\w-]+"), MASK),
    (re.compile(r"\b[0-9a-fA-F]{32,}\b"), lambda found: shortened(found[0])),  # APNs tokens, API tokens
    (re.compile(r"[\w:-]{100,}"), lambda found: shortened(found[0])),  # FCM tokens
    (re.compile(r"\bwhsec_[\w+/=-]+"), MASK),  # a secret of a webhook
    (re.compile(r"\brhp_[\w-]{20,}"), MASK),  # a named API token
    (_BASE64, MASK),
)


def shortened(token: str) -> str:
    """The first characters of a token."""
    return token if len(token) <= _SHOWN else token[:_SHOWN] + "…"


def redact(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a line without secrets."""
    return {name: _safe(name, value) for name, value in fields.items()}


def _safe(name: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return redact({str(key): item for key, item in value.items()})
    if isinstance(value, list | tuple | set | frozenset):
        return [_safe(name, item) for item in value]
    if value is None or isinstance(value, bool | int | float) or name in _FREE:
        return value
    if _MASKED.search(name):
        return MASK
    text = str(value)
    return shortened(text) if _SHORTENED.search(name) else scrub(text)


def scrub(text: str) -> str:
    """A text without anything that has the form of a secret."""
    for look, instead in _LOOKS:
        text = look.sub(instead, text)
    return text
