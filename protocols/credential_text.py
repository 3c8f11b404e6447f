"""Parsing of the text of keys, certificates and accounts, in all forms that editing and copying give them.

An editor adds a byte order mark, a shell variable holds `\\n` as two characters, a YAML block is indented, a copy has
the line ends of an old Macintosh or none at all. `pem_blocks` and `json_object` read all of these; TLS and the
signing of tokens use their output, so that no library accepts a text that another refuses.
"""

import codecs
import json
import re
from typing import Any, Final, NamedTuple

from protocols.errors import InvalidCredential

TEXT_BYTES: Final = 1_048_576
"""Longer than any key, chain of certificates or account."""
PATH_CHARACTERS: Final = 4_096
"""PATH_MAX of Linux."""
NAME_CHARACTERS: Final = 255
"""NAME_MAX of Linux."""

_BEGIN: Final = "-----BEGIN "
_END: Final = "-----END "
_DASHES: Final = "-----"
_LABEL: Final = re.compile(r"[A-Z0-9 ]{1,64}")
_HEADER: Final = re.compile(r"[A-Za-z-]{1,32}:")
"""A header of a key that is encrypted in OpenSSL's old format (RFC 1421 §4.6)."""
_LINE: Final = 64
"""Characters in a line (RFC 7468 §2)."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]")
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
_DER: Final = re.compile(r"(MI[A-Za-z0-9+/]|eyJ)[A-Za-z0-9+/=_-]{97,}")
"""Base64 of DER (a key, a certificate) or of a JSON object, without any armour."""


class Block(NamedTuple):
    """One PEM block.

    Attributes:
        label: its label, "CERTIFICATE" for example.
        pem: the block alone, in the form of RFC 7468.
    """

    label: str
    pem: bytes

    @property
    def is_key(self) -> bool:
        """Whether its label is that of a private key."""
        return self.label.endswith("PRIVATE KEY")

    def __repr__(self) -> str:
        return f"Block({self.label!r}, ***)"


def decoded(data: bytes | str) -> str:
    """Decode a file or setting, and remove a byte order mark and surrounding white space.

    Raises:
        InvalidCredential: it is longer than `TEXT_BYTES`.
    """
    if len(data) > TEXT_BYTES:
        raise InvalidCredential(f"the credential is longer than {TEXT_BYTES} bytes")
    if isinstance(data, bytes):
        wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        data = data.decode("utf-16" if wide else "utf-8", "replace")
    return data.strip("\ufeff\x00 \t\r\n\v\f")


def pem_blocks(data: bytes | str) -> list[Block]:
    """Every PEM block of a text, ignoring the text around and between them.

    Raises:
        InvalidCredential: the text is too long.
    """
    text = decoded(data)
    if "\\n" in text:
        text = text.replace("\\r", "").replace("\\n", "\n")
    blocks: list[Block] = []
    offset = text.find(_BEGIN)
    while offset >= 0:
        start = offset + len(_BEGIN)
        end = text.find(_END, start)
        if end < 0:
            break
        offset = text.rfind(_BEGIN, start, end)  # a block contains no other block
        start = start if offset < 0 else offset + len(_BEGIN)
        label, dashes, body = text[start:end].partition(_DASHES)
        if dashes and _LABEL.fullmatch(label) and text.startswith(label + _DASHES, end + len(_END)):
            blocks.append(Block(label, _written(label, body)))
        offset = text.find(_BEGIN, end)
    return blocks


def private_key(data: bytes | str) -> bytes:
    """The first private key of a text, as PEM; empty: there is none.

    Raises:
        InvalidCredential: the text is too long.
    """
    return next((block.pem for block in pem_blocks(data) if block.is_key), b"")


def _written(label: str, body: str) -> bytes:
    """A block in the form that every library reads: lines of 64 characters, ended by a line feed."""
    lines = [line.strip() for line in body.splitlines()]
    headers = [line for line in lines if _HEADER.match(line)]
    characters = "".join("".join(line.split()) for line in lines if not _HEADER.match(line))
    rows = [characters[at : at + _LINE] for at in range(0, len(characters), _LINE)]
    above = [*headers, ""] if headers else []
    written = [f"{_BEGIN}{label}{_DASHES}", *above, *rows, f"{_END}{label}{_DASHES}", ""]
    return "\n".join(written).encode("utf-8", "replace")


def json_object(data: bytes | str) -> dict[str, Any] | None:
    """Parse a JSON object whose texts may contain real line ends, or which is written with `\\n` as two characters
    throughout.

    Returns:
        None if the text is not a JSON object.

    Raises:
        InvalidCredential: the text is too long, or holds an escaped half of a surrogate pair, which no encoding has:
            it could be neither sent nor logged.
    """
    text = decoded(data)
    if len(text) > 1 and text[0] == text[-1] == "'":  # quotes of a shell, kept in an env file
        text = text[1:-1]
    for form in (text, text.replace("\\r", "").replace("\\n", "\n")):
        try:
            found = json.loads(form, strict=False)
            broken = _has_lone_surrogate(found)
        except (ValueError, RecursionError):
            continue
        if not isinstance(found, dict):
            return None
        if broken:
            raise InvalidCredential("the credential holds half of a surrogate pair (\\ud800 to \\udfff)")
        return found
    return None


def _has_lone_surrogate(value: Any) -> bool:
    if isinstance(value, str):
        return _SURROGATE.search(value) is not None
    if isinstance(value, dict):
        return any(_has_lone_surrogate(key) or _has_lone_surrogate(inner) for key, inner in value.items())
    return isinstance(value, list) and any(map(_has_lone_surrogate, value))


def is_path(text: str) -> bool:
    """Whether a text can be the path of a file. Other texts may be the content of one, and must not be shown."""
    if not 0 < len(text) <= PATH_CHARACTERS or _CONTROL.search(text):
        return False
    if _BEGIN.strip() in text or text.lstrip("'\" ").startswith("{") or _DER.match(text.strip()):
        return False
    return all(len(name) <= NAME_CHARACTERS for name in text.split("/"))


def control_character(text: str, *, lines: bool = False) -> str | None:
    """The first control character of a text, by its code; None: there is none.

    Args:
        lines: whether line ends and tabs are allowed.
    """
    for found in _CONTROL.finditer(text):
        if not (lines and found[0] in "\t\r\n"):
            return f"U+{ord(found[0]):04X}"
    return None
