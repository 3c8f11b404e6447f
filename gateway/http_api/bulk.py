"""Many pings in one request: newline-delimited JSON in, one answer per line out, while the body still arrives.

One coroutine reads lines and queues their pings; another writes the answers in the order of the lines once the pings
are durable. The window between them (`line_window`) bounds the memory of the request, whatever the length of its
body: while the window is full, no byte is read, and TCP flow control slows the client down.

An interrupted request (`stream_watch`, a malformed body) ends in order: every line that was read is answered, and the
last answer names the first line that was not read. With an idempotency key in each line, a caller may repeat every line
without an answer.
"""

import asyncio
import contextlib
from collections.abc import Awaitable
from typing import Any, Final, Protocol

import orjson
from aiohttp import HttpVersion11, hdrs, web
from multidict import CIMultiDict

from gateway.errors import LineTooLong, RhoPushError, StoreDown, UnsupportedMediaType
from gateway.http_api import responses
from gateway.http_api.admission import LineKeys
from gateway.http_api.aiohttp_handler import AiohttpConnection, trust
from gateway.http_api.bodies import API_HEADER, BODY_ADMISSION, BODY_RESERVATION, StreamedBodyReader
from gateway.http_api.context import HandlerContext, client_of
from gateway.http_api.line_window import WINDOW_BYTES, BulkLine, LineWindow, refusal
from gateway.http_api.ping import IDEMPOTENCY_KEY, preferences, traceparent_of
from gateway.http_api.requests import run_in_steps
from gateway.http_api.stream_watch import StreamWatch
from gateway.http_api.token_cache import TokenGrant, principal_of
from gateway.queue.ping_queue import PingQueue
from gateway.registry.scopes import Principal, Scope, require_any_scope
from gateway.scheduling.background import run_in_background
from gateway.store import keys
from protocols.errors import InvalidField
from protocols.http1.response import Headers
from protocols.ping import form
from protocols.ping.large import LARGE_BYTES
from protocols.ping.ndjson import MEDIA_TYPE, LineSplitter
from protocols.ping.overrides import AdditionRules
from protocols.ping.parse import PARAMETERS, Submission, from_line, line_in_steps
from protocols.response_headers import SAFETY_HEADERS

ERRORS_MAX: Final = 100
"""Largest number of refused lines in a summary."""
_TURN_LINES: Final = keys.ENTRY_PINGS
"""Lines read without a turn of the loop: about a millisecond, and as many as one entry of the queue holds."""
_HEADERS: Final = (
    ("Content-Type", MEDIA_TYPE),
    ("Cache-Control", "no-cache"),
    ("X-Accel-Buffering", "no"),  # nginx forwards each answer at once
    *SAFETY_HEADERS,
)
_OF_A_LINE: Final = PARAMETERS - {"api_token"}
_APPLIED: Final = (("Preference-Applied", "return=minimal"),)


class BulkRoutes:
    """The route of bulk requests.

    Args:
        context: the state shared by the routes.
    """

    def __init__(self, context: HandlerContext) -> None:
        self._context = context

    async def pings(self, request: web.Request) -> web.StreamResponse:
        """Accept the pings of all lines.

        Raises:
            ApiTokenRefused: the header has no valid API token.
            ScopeMissing: the token may send no pings. A line for more users than the token may reach is refused alone.
            InvalidField: the query has a parameter of a ping, or the request an Idempotency-Key.
            UnsupportedMediaType: the body is not NDJSON.
            UnsupportedCoding: the Content-Encoding is neither gzip nor deflate.
            BodiesFull: the window does not fit into `limits.bodies_bytes`.
        """
        context, services = self._context, self._context.services
        token = request.headers.get(API_HEADER, "")
        grant = await context.tokens.role(token, client_of(request))
        require_any_scope(principal_of(grant), Scope.PING, Scope.BROADCAST)
        trust(request)
        _refuse_parameters(request, services.addition_rules)
        kind = request.headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip().lower()
        if kind != MEDIA_TYPE:
            raise UnsupportedMediaType(f"the Content-Type must be {MEDIA_TYPE}", field=hdrs.CONTENT_TYPE)
        body = StreamedBodyReader(request)
        reservation = request[BODY_RESERVATION]
        reservation.mark_authenticated()
        reservation.reserve(
            min(WINDOW_BYTES + services.settings.limits.line_bytes, request.app[BODY_ADMISSION].largest)
        )
        await body.begin()
        connection = request.protocol
        if not isinstance(connection, AiohttpConnection):
            raise TypeError("the connection does not belong to this server")
        with StreamWatch(connection, services.timeouts.stream_s) as watch:
            return await _BulkRequest(context, request, body, watch, (token, grant)).answer(connection)


def _refuse_parameters(request: web.Request, addition_rules: AdditionRules) -> None:
    """Refuse parameters that would hold for one line only: their sender expects an effect on all lines.

    Raises:
        InvalidField: the query has a parameter of a ping, or the request an Idempotency-Key.
    """
    if IDEMPOTENCY_KEY in request.headers:
        raise InvalidField(
            f"the header {IDEMPOTENCY_KEY} is not allowed here: each line has an idempotency_key of its own",
            field=IDEMPOTENCY_KEY,
        )
    query = request.rel_url.raw_query_string
    for name in form.parameters(query, "query") if query else ():
        if name in addition_rules or name in _OF_A_LINE:
            raise InvalidField(f"the query must not have {name}: it has no effect on the lines", field=name)


class _Answers(Protocol):
    """The form of the answers to a bulk request: line by line, or a summary."""

    def on_ready(self) -> None:
        """Handle the answer to the first line of the window."""

    async def finish(self, ended: dict[str, Any] | None, status: int) -> web.StreamResponse:
        """Complete the response, once every line has its answer.

        Args:
            ended: the error that interrupted the request and the line before which it did; None: no interruption.
            status: HTTP status of that error.
        """

    async def close(self) -> None:
        """Stop the work of this object."""


class _BulkRequest:
    """One bulk request.

    Args:
        context: the state shared by the routes.
        request: the request.
        body: its body.
        watch: interrupts the request.
        caller: the caller's API token, and what it grants.
    """

    def __init__(
        self,
        context: HandlerContext,
        request: web.Request,
        body: StreamedBodyReader,
        watch: StreamWatch,
        caller: tuple[str, TokenGrant],
    ) -> None:
        self._services = context.services
        self._admission = context.admission
        self._queue = context.services.queue
        self._traceparent = traceparent_of(request)
        self._request = request
        self._body = body
        self._watch = watch
        self._token, self._grant = caller
        self._tokens = context.tokens
        self._keys = LineKeys(self._token)
        self._splitter = LineSplitter(self._services.settings.limits.line_bytes)
        self._window = LineWindow(self._services, self._admission.accepted)
        self._next_line = 1
        minimal = preferences(request).get("return") == "minimal"
        self._answers: _Answers = _Summary(self._window) if minimal else _AnswerStream(self._window, request)
        self._window.open(self._answers)

    async def answer(self, connection: AiohttpConnection) -> web.StreamResponse:
        """Read the lines and answer them.

        Raises:
            RhoPushError: the request was interrupted before its first line.
        """
        try:
            error = await self._interrupted(self._read())
            if error is not None and self._next_line == 1:
                raise error
            await self._window.emptied()
            if error is None:
                return await self._answers.finish(None, 200)
            ended = refusal(error, self._next_line) | {"resume_from": self._next_line}
            found = await self._answers.finish(ended, error.status)
            found.force_close()
            await self._end(found, connection)
            return found
        finally:
            await self._answers.close()

    async def _end(self, response: web.StreamResponse, connection: AiohttpConnection) -> None:
        """Close such that the client can read the last answer although its body is not read to the end."""
        content = self._request.content
        if content.exception() is None:
            if not content.is_eof():
                connection.linger(self._request.app[BODY_ADMISSION].large)
            return
        with contextlib.suppress(ConnectionError):
            await response.prepare(self._request)
            await response.write_eof()
            await connection.wait_for_close()

    async def _interrupted(self, reading: Awaitable[None]) -> RhoPushError | None:
        """Run `reading`, and return the error that ended it before the end of the body."""
        try:
            async with self._watch.interruptible():
                await reading
        except TimeoutError:
            return self._watch.reason
        except RhoPushError as error:
            return error.with_traceback(None)  # its frames refer to chunks of the body
        return None

    async def _read(self) -> None:
        body, feed = self._body, self._splitter.feed
        while piece := await body.next():
            self._watch.moved()
            await self._renew_grant()
            await self._take(feed(piece))
        await self._take(self._splitter.finish())

    async def _renew_grant(self) -> None:
        """Read from the cache what the token grants now: a long request does not outlast its token.

        Raises:
            ApiTokenRefused: the token was revoked, replaced or has expired.
            StoreDown: Redis does not answer about a named token. While it does not answer about another token, the
                lines are refused one by one.
        """
        try:
            self._grant = await self._tokens.role(self._token, client_of(self._request))
        except StoreDown:
            if isinstance(self._grant, Principal):
                raise
        principal_of(self._grant)

    async def _take(self, lines: list[bytes | None]) -> None:
        window = self._window
        for number, line in enumerate(lines, self._next_line):
            if line is None or (line and not line.isspace()):
                if window.full:
                    await window.room()
                if line is None or len(line) > LARGE_BYTES:
                    await self._take_long(number, line)
                else:
                    self._take_line(number, line)
            self._next_line = number + 1
            if not number % _TURN_LINES:
                await asyncio.sleep(0)

    def _take_line(self, number: int, line: bytes) -> None:
        pending = self._window.add(number, len(line))
        try:
            self._submit_line(pending, line, *from_line(line, self._services.addition_rules))
        except RhoPushError as error:
            pending.on_outcome(error)

    async def _take_long(self, number: int, line: bytes | None) -> None:
        if line is None:
            most = self._services.settings.limits.line_bytes
            self._window.add(number, 0).on_outcome(
                LineTooLong(f"a line must not exceed {most} bytes (limits.line_bytes)")
            )
            return
        try:
            steps = line_in_steps(line, self._services.addition_rules)
            found = await run_in_steps(steps, self._services.scheduler)
        except RhoPushError as error:
            self._window.add(number, len(line)).on_outcome(error)
            return
        pending = self._window.add(number, len(line))
        try:
            self._submit_line(pending, line, *found)
        except RhoPushError as error:
            pending.on_outcome(error)

    def _submit_line(self, pending: BulkLine, line: bytes, submission: Submission, key: object) -> None:
        submission = self._admission.admit(submission, self._grant)
        digest = None if key is None else self._keys.digest(key, line)
        if submission.unknown:
            pending.warning = responses.warning(submission)
        queue: PingQueue = self._queue
        if submission.deliver_at_ms is not None:
            queue = self._queue.at(submission.deliver_at_ms)
        if self._services.tracer is not None:
            queue = self._services.tracer.queue_of(queue, self._traceparent)
        ping_id = queue.submit(submission.ping, len(line), pending.on_outcome, key=digest)
        if not pending.ping_id:
            pending.ping_id = ping_id


class _AnswerStream:
    """Answers line by line, in NDJSON.

    Args:
        window: the lines.
        request: the request that is answered.
    """

    def __init__(self, window: LineWindow, request: web.Request) -> None:
        self._window = window
        self._request = request
        self._response = web.StreamResponse(headers=CIMultiDict(_HEADERS))
        if (
            request.version < HttpVersion11
        ):  # without chunks, the end of the connection is the end of the response
            self._response.force_close()
        self._ready = asyncio.Event()
        self._gone = False
        """Whether nothing more can be written. The lines that were read stay accepted."""
        self._error: Exception | None = None
        self._writer = run_in_background(self._write, "bulk answers", restart_s=0)

    def on_ready(self) -> None:
        """Wake the writer."""
        self._ready.set()

    async def finish(self, ended: dict[str, Any] | None, _: int) -> web.StreamResponse:
        """Write the last line, if the request was interrupted. Raises the unexpected error that ended the answers."""
        await self.close()
        if self._error is not None:
            raise self._error
        if ended is not None:
            with contextlib.suppress(ConnectionError):  # the client has disconnected
                await self._send(orjson.dumps(ended) + b"\n")
        elif not self._response.prepared:
            await self._response.prepare(self._request)
        return self._response

    async def close(self) -> None:
        """Stop writing answers."""
        self._writer.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._writer

    async def _write(self) -> None:
        window = self._window
        while True:
            await self._ready.wait()
            self._ready.clear()
            lines = window.take()
            try:
                if lines and not self._gone:
                    await self._send(b"".join([line.render() for line in lines]))
            except ConnectionError:  # the client has disconnected
                self._gone = True
            except Exception as error:
                self._gone, self._error = True, error
                raise
            finally:  # also after a defect: the request waits until all lines are released
                window.release(lines)

    async def _send(self, data: bytes) -> None:
        if not self._response.prepared:
            await self._response.prepare(self._request)
        await self._response.write(data)


class _Summary:
    """Answers once, at the end, with counts and the first refused lines.

    Args:
        window: the lines.
    """

    def __init__(self, window: LineWindow) -> None:
        self._window = window
        self._accepted = 0
        self._refused = 0
        self._errors: list[dict[str, Any]] = []

    def on_ready(self) -> None:
        """Count the answered lines."""
        lines = self._window.take()
        for line in lines:
            if line.refusal is None:
                self._accepted += 1
                continue
            self._refused += 1
            if len(self._errors) < ERRORS_MAX:
                self._errors.append(line.refusal)
        self._window.release(lines)

    async def finish(self, ended: dict[str, Any] | None, status: int) -> web.StreamResponse:
        """Create the summary; an interrupted request gets the status of its error."""
        summary: dict[str, Any] = {
            "accepted": self._accepted,
            "refused": self._refused,
            "errors": self._errors,
        }
        headers: Headers = _APPLIED
        if ended is not None:
            after_s = ended["error"].get("retry_after_s")
            headers = headers if after_s is None else (*headers, ("Retry-After", str(after_s)))
        return responses.response(responses.of_json((ended or {}) | summary, status=status, headers=headers))

    async def close(self) -> None:
        """Do nothing: a summary has no task."""
