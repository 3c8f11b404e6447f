"""Incremental parser of one HTTP/1.1 request, on top of httptools, with limits on each part.

A waiting connection holds no parser: the parser exists from the first byte of a request to its last.
"""

from typing import Final

import httptools

from protocols.errors import InputError

HEAD_BYTES_MAX: Final = 16_384
"""Limit of the head, equal to the main port's. Devices send some 400 bytes; a session cookie of RhoConnect's may have
4,096."""
BODY_BYTES_MAX: Final = 65_536
"""Limit of the body. No message of RhoConnect's comes near; devices send no body at all."""


class RefusedRequest(InputError):
    """The request will not be read to its end. `answer` is the HTTP status; the connection is closed."""

    code = "refused_request"
    label = "refused_request"

    def __init__(self, answer: int) -> None:
        super().__init__(f"answered with {answer}")
        self.answer = answer


class PushRequest:
    """One request. Call `feed` until the request is `complete`.

    Attributes:
        complete: the request was read to its end.
        overrun: data of a pipelined request followed; that request is not read.
        expects: the client waits for 100 Continue before it sends the body.
        keep: the connection may be kept open after the response.
        method: in upper case, once the head is complete.
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
        self._unread = 0  # bytes received before the end of the head
        self.method = ""
        self.complete = self.overrun = self.expects = self.keep = False
        self._announced = 0  # length of the body by Content-Length

    def feed(self, data: bytes) -> None:
        """Parse more data.

        Raises:
            RefusedRequest: 400 not HTTP, 413 body too large, 431 head too large.
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
            self._parser = None  # the parser and its callbacks refer to each other
        if status:
            raise RefusedRequest(status)

    @property
    def target(self) -> str:
        """The request target, as sent."""
        return self._target.decode("utf-8", "replace")

    @property
    def body(self) -> bytes:
        """The request's body."""
        return bytes(self._body)

    @property
    def body_bytes(self) -> int:
        """Length of the body: the larger of Content-Length and the bytes received."""
        return max(len(self._body), self._announced)

    def header(self, name: bytes) -> str | None:
        """Return the first header of this name (lower case), or None."""
        for known, value in self._headers:
            if known == name:
                return value.decode("utf-8", "replace")
        return None

    def list_of(self, name: bytes) -> str:
        """Join the values of all headers of this name (lower case), which are lists (RFC 9110 §5.3)."""
        return ", ".join(value.decode("utf-8", "replace") for known, value in self._headers if known == name)

    @property
    def cookies(self) -> str:
        """All Cookie headers joined: Android devices send two."""
        found = [value.decode("utf-8", "replace") for name, value in self._headers if name == b"cookie"]
        return "; ".join(found)

    # -- calls of the parser ---------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Note the start of a message. A second message is not read."""
        self.overrun = self.complete

    def on_url(self, part: bytes) -> None:
        """Store the target."""
        if not self.complete:
            self._target += part
            self._head += len(part)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Store one header. A trailer field only counts towards the limit: it is no header field, and a server in front
        of this one may have removed such a header (RFC 9110 §6.5.1)."""
        if not self.complete:
            self._head += len(name) + len(value)
            if not self.method:
                self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Store the properties of the connection that the head states."""
        if not self.complete and self._parser is not None:
            self.method = self._parser.get_method().decode()
            self.keep = self._parser.should_keep_alive()
            # Other expectations, and all of HTTP/1.0, are ignored (RFC 9110 §10.1.1).
            asked = (self.header(b"expect") or "").lower() == "100-continue"
            self.expects = asked and self._parser.get_http_version() == "1.1"
            length = self.header(b"content-length") or ""
            # llhttp accepts nothing but digits. Twelve of them exceed the limit of any body. llhttp takes 2^64 - 1 for
            # a missing length, also behind zeros.
            self._announced = int(length.lstrip("0")[:12] or "0") if length.isdecimal() else 0

    def on_body(self, part: bytes) -> None:
        """Store data of the body, up to the limit."""
        if not self.complete and len(self._body) <= BODY_BYTES_MAX:
            self._body += part

    def on_message_complete(self) -> None:
        """Note that the request is complete."""
        self.complete = True
