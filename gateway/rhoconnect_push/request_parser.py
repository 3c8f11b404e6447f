"""One HTTP/1.1 request being read: parsed by httptools, bounded in every direction, dropped when it is whole.

A connection that waits holds no parser: it has one only from the first byte of a request to the last.
"""

from typing import Final

import httptools

from protocols.errors import InputError

HEAD_BYTES_MAX: Final = 16_384
"""As on the main port. Devices send some 400 bytes; a session cookie of RhoConnect's may have 4,096."""
BODY_BYTES_MAX: Final = 65_536
"""No message of RhoConnect's comes near; devices send no body at all."""


class RefusedRequest(InputError):
    """What was sent is no request that will be read to its end. `status` says why; the connection ends."""

    code = "refused_request"
    label = "refused_request"

    def __init__(self, answer: int) -> None:
        super().__init__(f"answered with {answer}")
        self.answer = answer


class PushRequest:
    """A request. `feed` it until it is `complete`.

    Attributes:
        complete: all of it is there.
        overrun: more came behind it: a pipelined request, which is not read.
        expects: the client waits for 100 Continue before it sends the body.
        keep: the connection may be kept after the answer.
        method: in upper case, once the head is there.
    """

    __slots__ = (
        "_announced",
        "_body",
        "_head",
        "_headers",
        "_parser",
        "_target",
        "_unread",
        "complete",
        "expects",
        "keep",
        "method",
        "overrun",
    )

    def __init__(self) -> None:
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._body = bytearray()
        self._head = 0
        self._unread = 0  # bytes that came before the end of the head
        self.method = ""
        self.complete = self.overrun = self.expects = self.keep = False
        self._announced = 0  # bytes of the body, by Content-Length

    def feed(self, data: bytes) -> None:
        """Read on.

        Raises:
            RefusedRequest: 400 no HTTP, 413 body too large, 431 head too large.
        """
        parser = self._parser
        if parser is None:
            return
        if not self.method:
            self._unread += len(data)
        status = 0
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            status = 400
        if self._head > HEAD_BYTES_MAX or (not self.method and self._unread > HEAD_BYTES_MAX):
            status = 431
        elif max(len(self._body), self._announced) > BODY_BYTES_MAX:
            status = 413
        if status or self.complete:
            self._parser = None  # it and its callbacks hold each other
        if status:
            raise RefusedRequest(status)

    @property
    def target(self) -> str:
        """The request's target, as sent."""
        return self._target.decode("utf-8", "replace")

    @property
    def body(self) -> bytes:
        """The request's body."""
        return bytes(self._body)

    @property
    def body_bytes(self) -> int:
        """Bytes of the body, announced or come."""
        return max(len(self._body), self._announced)

    def header(self, name: bytes) -> str | None:
        """The first header of this name (lower case); None: there is none."""
        for known, value in self._headers:
            if known == name:
                return value.decode("utf-8", "replace")
        return None

    def list_of(self, name: bytes) -> str:
        """All headers of this name (lower case), whose values are lists, as one (RFC 9110 §5.3)."""
        return ", ".join(value.decode("utf-8", "replace") for known, value in self._headers if known == name)

    @property
    def cookies(self) -> str:
        """All Cookie headers as one: Android devices send two."""
        found = [value.decode("utf-8", "replace") for name, value in self._headers if name == b"cookie"]
        return "; ".join(found)

    # -- what the parser calls
    # ----------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A second one is not read."""
        self.overrun = self.complete

    def on_url(self, part: bytes) -> None:
        """Keep the target."""
        if not self.complete:
            self._target += part
            self._head += len(part)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep one header."""
        if not self.complete:
            self._headers.append((name.lower(), value))
            self._head += len(name) + len(value)

    def on_headers_complete(self) -> None:
        """Note what the head says about the connection."""
        if not self.complete and self._parser is not None:
            self.method = self._parser.get_method().decode()
            self.keep = self._parser.should_keep_alive()
            self.expects = self.header(b"expect") is not None
            length = self.header(b"content-length") or ""
            # llhttp lets nothing but digits pass; what has more of them than any body is too long all the same.
            self._announced = int(length[:12]) if length.isdecimal() else 0

    def on_body(self, part: bytes) -> None:
        """Keep the body, up to its limit."""
        if not self.complete and len(self._body) <= BODY_BYTES_MAX:
            self._body += part

    def on_message_complete(self) -> None:
        """The request is whole."""
        self.complete = True
