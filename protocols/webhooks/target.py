"""Addresses of webhook endpoints: the kinds of URL, and the conditions of each.

| URL | the endpoint |
| --- | --- |
| `https://HOST/PATH` | an HTTP server |
| `http://HOST/PATH` | an HTTP server on this machine, or any server if the endpoint is `insecure` |
| `redis-stream://NAME` | the stream `NAME` in the queue's Redis |
| `file:///PATH` | a file with one JSON text on each line |
"""

import re
from enum import Enum
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

from protocols.errors import InvalidField
from protocols.hosts import is_loopback

OWN_PREFIX: Final = "rhopush:"
"""The beginning of the gateway's own keys, which no stream may have."""
NAME_CHARACTERS: Final = 512
"""Most characters in the name of a stream."""
_BLANK: Final = re.compile(r"[\x00-\x20\x7f]")


class TargetKind(Enum):
    """The kinds of endpoints."""

    HTTP = "http"
    STREAM = "redis-stream"
    FILE = "file"


class Target(NamedTuple):
    """The target of a URL.

    Attributes:
        kind: the kind of endpoint.
        address: the URL of a server, the name of a stream, or the path of a file.
        shown: the address for operators, without the query, which may contain a password.
    """

    kind: TargetKind
    address: str
    shown: str


def target_of(url: str, *, insecure: bool = False) -> Target:
    """Read the URL of an endpoint.

    Args:
        url: the URL.
        insecure: whether `http://` may name another machine.

    Raises:
        InvalidField: no endpoint has such a URL. The error does not contain the URL.
    """
    scheme, found, rest = url.partition("://")
    scheme = scheme.lower()
    if found and scheme in ("http", "https"):
        return _server(url, insecure=insecure)
    if found and scheme == "redis-stream":
        return _stream(url, unquote(rest))
    if found and scheme == "file":
        return _file(url, unquote(rest))
    raise InvalidField("expected a URL that begins with https://, http://, redis-stream:// or file:///")


def _server(url: str, *, insecure: bool) -> Target:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidField("not a URL") from error
    if _BLANK.search(url):  # `urlsplit` removes some of them
        raise InvalidField("the URL must contain neither blanks nor control characters")
    if not parts.hostname or port == 0:
        raise InvalidField("expected a URL with a host")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise InvalidField("the URL must contain neither a user, a password nor a fragment")
    if parts.scheme == "http" and not insecure and not is_loopback(parts.hostname):
        raise InvalidField("http:// to another machine requires insecure: true")
    return Target(TargetKind.HTTP, url, f"{parts.scheme}://{parts.netloc}{parts.path}")


def _stream(url: str, name: str) -> Target:
    if not name or len(name) > NAME_CHARACTERS or name.startswith(OWN_PREFIX):
        raise InvalidField(f"expected redis-stream:// and the name of a stream, not of a key {OWN_PREFIX}*")
    return Target(TargetKind.STREAM, name, url)


def _file(url: str, path: str) -> Target:
    if not path.startswith("/") or path.endswith("/") or "\0" in path:
        raise InvalidField("expected file:/// and the absolute path of a file")
    return Target(TargetKind.FILE, path, url)
