"""Detection of JSON bodies by Content-Type and content, and their conversion to UTF-8.

| Content-Type | the body is parsed as |
| --- | --- |
| `application/json`, in any case, with any suffix or parameter | JSON; anything else is an error |
| none, `application/x-www-form-urlencoded` | JSON if it is a JSON object, else a form |
| `multipart/form-data` | a multipart form |
| all others | JSON if it is a JSON object, else it is not parsed |

RhoConnect parses JSON under `application/json` in lower case only (contract §1.2). But curl's `-d` declares a form,
and other clients declare `text/json`, `application/vnd.api+json` or `text/plain`.

JSON is UTF-8 and has no charset parameter (RFC 8259 §8.1, §11), so valid UTF-8 is accepted whatever the parameter
is.
"""

import codecs
import re
from enum import Enum
from typing import Final

import msgspec

from protocols.errors import MalformedBody
from protocols.ping.large import LARGE_BYTES

_decode: Final = msgspec.json.Decoder().decode
_BEGINS: Final = re.compile(rb"[ \t\r\n]*\{")
_ENDS: Final = re.compile(rb"\}[ \t\r\n]*\Z")
_TAIL_BYTES: Final = 64
_CHARSET: Final = re.compile(r";\s*charset\s*=\s*\"?([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE)
# Python has codecs that are not character sets, and some that are slow.
_DECODED: Final = re.compile(
    r"ascii|iso8859-\d+|cp125\d|koi8-[ru]|utf-(?:16|32)(?:-[bl]e)?|gbk|gb18030|big5|shift_jis|euc_(?:jp|kr)"
)
_SHOWN_CHARACTERS: Final = 40


class BodyKind(Enum):
    """The kind of body that a Content-Type declares."""

    JSON = "json"
    FORM = "form"
    MULTIPART = "multipart"
    OTHER = "other"


def kind_of(content_type: str) -> BodyKind:
    """The kind of body for a Content-Type."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type.startswith("application/json"):
        return BodyKind.JSON
    if media_type in ("", "application/x-www-form-urlencoded"):
        return BodyKind.FORM
    return BodyKind.MULTIPART if media_type == "multipart/form-data" else BodyKind.OTHER


def json_text(body: bytes, content_type: str) -> bytes | None:
    """Return the JSON text of a body as UTF-8; None if the body is not parsed as JSON.

    Args:
        body: the whole body, decoded from its content coding.
        content_type: the request's Content-Type; "" for none.

    Raises:
        MalformedBody: the type is JSON, and the bytes are not in the declared charset.
    """
    kind = kind_of(content_type)
    if kind is BodyKind.JSON:
        return _in_utf8(body, content_type)
    if kind is BodyKind.MULTIPART:
        return None
    try:
        text = _in_utf8(body, content_type)
    except MalformedBody:
        return None
    return text if _is_object(text) else None


def _is_object(text: bytes) -> bool:
    """Whether the text is a JSON object. Only both ends of a large text are checked: decoding takes too long."""
    if _BEGINS.match(text) is None:
        return False
    if len(text) > LARGE_BYTES:
        return _ENDS.search(text[-_TAIL_BYTES:]) is not None
    try:
        _decode(text)
    except ValueError:
        return False
    except RecursionError:
        return True  # JSON that is nested too deeply: the parser reports it
    return True


def _in_utf8(body: bytes, content_type: str) -> bytes:
    named = _CHARSET.search(content_type)
    if named is None or named[1].lower() in ("utf-8", "utf8"):
        return body
    if b"\0" not in body and _is_utf8(body):  # UTF-16 and UTF-32 of any JSON have zero bytes
        return body
    try:
        return body.decode(_codec(named[1], body)).removeprefix("\ufeff").encode()
    except (LookupError, UnicodeError) as error:
        raise MalformedBody(
            f"the body is neither UTF-8 nor in the charset {named[1][:_SHOWN_CHARACTERS]} of its Content-Type"
        ) from error


def _codec(charset: str, body: bytes) -> str:
    """Return Python's name of a character set. Raises LookupError if there is none."""
    codec = codecs.lookup(charset).name
    if _DECODED.fullmatch(codec) is None:
        raise LookupError(codec)
    if codec in ("utf-16", "utf-32") and body.startswith(b"\0"):
        codec += "-be"  # without a byte order mark Python assumes the machine's byte order
    return codec


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True
