"""Requests of the RhoConnect Push service, parsed as rhoconnect-push parses them (contract §9).

| method and path | call | further conditions on the path |
| --- | --- | --- |
| POST /instanceId | `CREATE` | exactly this path: even a query is refused |
| GET, DELETE /instanceId/I | `COOKIE`, `FORGET` | three parts |
| PUT, GET, DELETE /registrations/I/USER/APP | `REGISTER`, `LOOK_UP`, `UNREGISTER` | five parts |
| GET /nextMessage/I?lastMessage=N | `POLL` | three parts; the first is only a prefix |
| POST /messageQueue/TOKEN | `POST` | the same, but reported only after the body was judged |

Everything else is 403, including a path whose last part is empty. No part is percent-decoded: ids contain no
character that needs it.
"""

import base64
import binascii
import math
import re
from enum import Enum
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs, unquote

import orjson

from protocols.errors import InvalidField, MalformedBody


class CallKind(Enum):
    """The operations of the service."""

    CREATE = "create"
    COOKIE = "cookie"
    FORGET = "forget"
    REGISTER = "register"
    LOOK_UP = "look_up"
    UNREGISTER = "unregister"
    POLL = "poll"
    POST = "post"


class ServiceCall(NamedTuple):
    """A parsed request line.

    Attributes:
        kind: the operation.
        name: the instance; of a `POST` the token, "" if its path is invalid (403, once the body is judged).
        user: of a registration.
        app: of a registration.
        last: of a poll, the highest id that the device has received; 0 for none.
    """

    kind: CallKind
    name: str = ""
    user: str = ""
    app: str = ""
    last: int = 0


class Basic(NamedTuple):
    """Credentials of an Authorization header.

    Attributes:
        name: the user or the app; "" without Basic credentials.
        password: "" without one.
        given: whether there is an Authorization header at all.
        encoded: the credentials as sent; "" without Basic credentials.
    """

    name: str
    password: str
    given: bool
    encoded: str

    def __repr__(self) -> str:
        return f"Basic({self.name!r}, given={self.given})"


_INSTANCES: Final = {"GET": CallKind.COOKIE, "DELETE": CallKind.FORGET}
_REGISTRATIONS: Final = {"PUT": CallKind.REGISTER, "GET": CallKind.LOOK_UP, "DELETE": CallKind.UNREGISTER}
_COOKIE: Final = re.compile(r"instance=([a-z|0-9:-]+)", re.IGNORECASE)
_COMMA_JOINED: Final = re.compile(r"(instance=[a-z|0-9:-]+),\s*", re.IGNORECASE)
_OWN_COOKIE: Final = re.compile(r"instance=[a-z|0-9:-]*;?\s*", re.IGNORECASE)
_NUMBER: Final = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_NUMBER_TEXT_MAX: Final = 400
"""No device writes longer numbers; JavaScript's own have at most 309 digits before the point."""
_HEX_DIGITS_MAX: Final = 15
_BEYOND_ALL: Final = 1 << 62
"""Above every id: it acknowledges nothing, as Infinity does."""
_INTEGER_TEXT_BELOW: Final = 1e21
"""From this number on JavaScript writes an integer with an exponent (ECMA-262, Number::toString)."""
_HEX: Final = re.compile(r"0[xX][0-9a-fA-F]+")


def read_line(method: str, target: str) -> ServiceCall | None:
    """Parse a request's method and target; None: 403.

    Args:
        method: in upper case.
        target: as sent. Slashes before the first part count as one: a base URL may end in a slash.
    """
    if target.startswith("//"):
        target = "/" + target.lstrip("/")
    if target == "/instanceId":
        return ServiceCall(CallKind.CREATE) if method == "POST" else None
    if target.startswith("/instanceId/"):
        return _with_name(_INSTANCES.get(method), target)
    if target.startswith("/registrations/"):
        return _registration(_REGISTRATIONS.get(method), target)
    if target.startswith("/nextMessage") and method == "GET":
        call = _with_name(CallKind.POLL, target)
        return None if call is None else call._replace(last=last_message(target.partition("?")[2]))
    if target.startswith("/messageQueue") and method == "POST":
        return _with_name(CallKind.POST, target) or ServiceCall(CallKind.POST)
    return None


def last_message(query: str) -> int:
    """The highest id that a device reports, as JavaScript's Number parses it: 0 for a text that is not a number.

    A repeated parameter is not a number either. Fractions are dropped: ids are whole. Numbers above every id, and
    texts that are longer than any number of a device, are `_BEYOND_ALL`.
    """
    if query.startswith("lastMessage=") and (digits := query[12:]).isdecimal() and digits.isascii():
        # The form that devices send; a longer number is above every counter either way.
        return int(digits.lstrip("0")[:18] or "0")
    values = parse_qs(query, keep_blank_values=True).get("lastMessage", ())
    if len(values) != 1:
        return 0
    return _whole_number(values[0].strip())


def _whole_number(text: str) -> int:
    """The value of JavaScript's Number for a text, without its fraction, from 0 to `_BEYOND_ALL`."""
    if _HEX.fullmatch(text):
        digits = text[2:].lstrip("0")
        return int(digits or "0", 16) if len(digits) <= _HEX_DIGITS_MAX else _BEYOND_ALL
    if text == "Infinity":
        return _BEYOND_ALL
    if not _NUMBER.fullmatch(text):
        return 0
    if text.startswith("-"):
        return 0
    number = float(text) if len(text) <= _NUMBER_TEXT_MAX else math.inf
    return int(number) if number < _BEYOND_ALL else _BEYOND_ALL


def instance_cookie(cookies: str) -> str:
    """The instance cookie in a Cookie header; "" without one.

    The first `instance=` counts at any position, so that cookies joined by commas work, as .NET sends them.
    """
    found = _COOKIE.search(cookies)
    return found[1] if found else ""


def proper_cookies(cookies: str) -> str:
    """A Cookie header as current servers parse it: a comma after the instance cookie becomes a semicolon.

    RhoConnect (rack 2) refuses the comma of .NET devices, so that they could never register (contract §2.2).
    """
    return _COMMA_JOINED.sub(r"\1; ", cookies)


def joined_by_comma(cookies: str) -> bool:
    """Whether a Cookie header has a comma after the instance cookie, as only Windows devices send it."""
    return _COMMA_JOINED.search(cookies) is not None


def without_instance(cookies: str) -> str:
    """A Cookie header without the instance cookie: the part that identifies the user."""
    return _OWN_COOKIE.sub("", cookies)


def basic(authorization: str | None) -> Basic:
    """The Basic credentials of an Authorization header. The scheme's name is case-sensitive here."""
    scheme, _, rest = (authorization or "").partition(" ")
    encoded = rest.partition(" ")[0]
    if scheme != "Basic" or not encoded:
        return Basic("", "", authorization is not None, "")
    try:
        text = base64.b64decode(encoded + "=" * (-len(encoded) % 4)).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        text = ""
    name, _, password = text.partition(":")
    return Basic(name, password, True, encoded)


def same_user(path_user: str, credentials: Basic) -> bool:
    """Whether the user in a registration's path is that of the credentials, if there are any."""
    return not credentials.given or credentials.name in (path_user, unquote(path_user))


class PostedMessage(NamedTuple):
    """A message as an app server posts it.

    Attributes:
        data: an object, as compact JSON.
        collapse: the collapse id as JavaScript writes it; None: none was given.
    """

    data: bytes
    collapse: str | None


def read_message(content_type: str, body: bytes) -> PostedMessage:
    """Parse and check a posted message.

    `data: null` is accepted, as in rhoconnect-push, but delivered as an empty object: an Android device that
    receives null requests the same message again without end (contract §9.1).

    Raises:
        MalformedBody: not exactly application/json, not JSON, or not an object.
        InvalidField: data is missing or not an object, or collapseId is not a number.
    """
    if content_type != "application/json":
        raise MalformedBody("the Content-Type must be exactly application/json")
    try:
        message: Any = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError as error:
        # No caller receives this text: the search for the position of the fault would cost more than the rest.
        raise MalformedBody("the body is not JSON") from error
    if not isinstance(message, dict):
        raise MalformedBody("the body must be a JSON object")
    data = message.get("data", ())
    if data is not None and not isinstance(data, dict):
        raise InvalidField("data must be an object", field="data")
    collapse = message.get("collapseId", 0)
    if isinstance(collapse, bool) or not isinstance(collapse, int | float):
        raise InvalidField("collapseId must be a number", field="collapseId")
    try:
        packed = orjson.dumps(data or {})
    except orjson.JSONEncodeError as error:  # it parses 1,024 levels and writes 254
        raise MalformedBody("data is nested too deeply") from error
    return PostedMessage(packed, _number_text(collapse) if "collapseId" in message else None)


def _with_name(kind: CallKind | None, target: str) -> ServiceCall | None:
    parts = _parts(target)
    return ServiceCall(kind, parts[2]) if kind is not None and len(parts) == 3 and parts[2] else None


def _registration(kind: CallKind | None, target: str) -> ServiceCall | None:
    parts = _parts(target)
    if kind is None or len(parts) != 5 or not parts[4]:
        return None
    return ServiceCall(kind, parts[2], user=parts[3], app=parts[4])


def _parts(target: str) -> list[str]:
    return target.partition("#")[0].partition("?")[0].split("/")


def _number_text(number: float) -> str:
    """A number as JavaScript converts it to a text: 5.0 is "5"."""
    whole = abs(number) < _INTEGER_TEXT_BELOW and number == int(number)
    return str(int(number)) if whole else str(float(number))
