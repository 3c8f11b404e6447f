"""Detection of JSON bodies, and their text as UTF-8."""

import pytest

from protocols.errors import MalformedBody
from protocols.json_bodies import BodyKind, json_text, kind_of
from protocols.ping.large import LARGE_BYTES

JSON = '{"user_id":"ü"}'
UTF8 = JSON.encode()
# Python 3.14 decodes it; earlier versions raise RecursionError.
DEEP = b'{"a":' * 9_000 + b"1" + b"}" * 9_000


@pytest.mark.parametrize(
    ("content_type", "kind"),
    [
        ("", BodyKind.FORM),
        ("application/json", BodyKind.JSON),
        ("Application/JSON ; charset=utf-8", BodyKind.JSON),
        ("application/json-rpc", BodyKind.JSON),
        ("Application/X-WWW-Form-Urlencoded", BodyKind.FORM),
        ("Multipart/Form-Data; boundary=x", BodyKind.MULTIPART),
        ("multipart/mixed; boundary=x", BodyKind.OTHER),
        ("text/json", BodyKind.OTHER),
    ],
)
def test_the_content_type_declares_the_kind_of_body(content_type: str, kind: BodyKind) -> None:
    assert kind_of(content_type) is kind


@pytest.mark.parametrize(
    ("body", "content_type", "text"),
    [
        (b"nothing", "application/json", b"nothing"),
        (b"", "application/json", b""),
        (UTF8, "", UTF8),
        (b" \r\n\t" + UTF8 + b" ", "text/plain", b" \r\n\t" + UTF8 + b" "),
        (b"user_id=a", "", None),
        (b"", "text/plain", None),
        (b"[]", "text/json", None),
        (b"{", "text/json", None),
        (b"{}{}", "text/json", None),
        (UTF8, "multipart/form-data", None),
        (JSON.encode("utf-16"), "text/json; charset=UTF-16", UTF8),
        (JSON.encode("utf-16-le"), "application/json; charset=utf-16", UTF8),
        (JSON.encode("utf-16-be"), "application/json; charset=utf-16", UTF8),
        (JSON.encode("utf-32"), "application/json;charset='x'; charset=utf-32", UTF8),
        (JSON.encode("cp1252"), 'application/json; Charset = "windows-1252"', UTF8),
        (UTF8, "application/json; charset=windows-1252", UTF8),
        (UTF8, "application/json; charset=no-such", UTF8),
        (JSON.encode("latin-1"), "text/json; charset=no-such", None),
        (b"\xff" + UTF8, "application/json; charset=utf-8", b"\xff" + UTF8),
        (b"{" + b'"a":1,' * LARGE_BYTES + b"} \n", "text/plain", b"{" + b'"a":1,' * LARGE_BYTES + b"} \n"),
        (b"{" + b'"a":1,' * LARGE_BYTES, "text/plain", None),
        (b"[" * 60_000, "text/plain", None),
        (DEEP, "text/plain", DEEP),
    ],
)
def test_json_text_is_returned_as_utf_8(body: bytes, content_type: str, text: bytes | None) -> None:
    assert json_text(body, content_type) == text


@pytest.mark.parametrize(
    "charset", ["no-such", "idna", "punycode", "base64", "unicode_escape", "utf-7", "us-ascii"]
)
def test_a_body_that_is_not_in_its_charset(charset: str) -> None:
    with pytest.raises(MalformedBody, match=f"in the charset {charset} of"):
        json_text(JSON.encode("latin-1"), f"application/json; charset={charset}")
