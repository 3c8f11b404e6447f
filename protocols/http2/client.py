"""Client side of one HTTP/2 connection to a provider, without any I/O.

Strategy:
- The engine silently queues requests beyond the peer's stream limit without a bound, so it never gets more than
  `capacity`: requests that are not submitted are not at risk when the connection ends, and deadlines start when a
  request is sent.
- A request is decided when its stream closes, not when the response's head arrives (RFC 9113 §8.1: a reset may
  follow).
- All requests have the same deadline, so they fall due in the order in which they were sent. One entry for many
  requests, and ascending stream ids, make the check O(1) amortised.
- A late stream is not reset: a burst of resets makes servers close, and late responses to reset streams count as
  abuse on the local side. It stays open until it closes by itself; a connection with many of them is retired.
- A PING is sent to a silent peer; further silence ends the connection earlier than the deadlines would. A connection
  whose peer answers but permits no stream is left after a deadline.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from ngh2 import (
    Configuration,
    Connection,
    ConnectionClosed,
    DataReceived,
    Event,
    GoAwayReceived,
    NeverIndexedHeader,
    NGH2Error,
    ResponseReceived,
    Role,
    Setting,
    SettingsReceived,
    StreamClosed,
    TrailersReceived,
)

from protocols.errors import WrongState
from protocols.headers import Header
from protocols.http2.outcome import OutcomeKind, RequestOutcome
from protocols.http2.states import ConnectionState, Step, advance
from protocols.http2.stream_result import decide, goaway_text

__all__ = [
    "ClientConnection",
    "ConnectionState",
    "Header",
    "Http2Limits",
    "OutcomeKind",
    "RequestOutcome",
    "never_indexed",
]

STRIKES_MAX: Final = 16
"""After this number of late or truncated responses the connection is retired."""
GRAINS: Final = 64
"""Deadlines have a resolution of this fraction of their length."""
WINDOW: Final = 1 << 20
"""The responses of all open streams may contain error bodies; 64 KiB would then need several round trips."""

_PING: Final = b"rho push"
_ANSWERED: Final = OutcomeKind.ANSWERED  # access to an enum's member costs three look-ups
_NEVER: Final = object()  # marks a missing context, since None may be one
# Equivalent to `RequestOutcome(...)`, without the Python call of a named tuple's constructor.
_tuple: Final = tuple.__new__
_CANCEL: Final = 0x08


@dataclass(frozen=True, slots=True)
class Http2Limits:
    """Local limits of a connection. The defaults suit APNs and FCM.

    Attributes:
        streams_max: most open streams, whatever the peer permits. APNs was observed to permit 500 to 1,500; each
            takes about 1.1 kB.
        body_max: most bytes stored of a response's body; a longer one is truncated and its stream cancelled.
            Providers answer with a few hundred bytes.
        idle_ping_s: silence on an idle connection after which a PING is sent: well under the ten minutes after which
            load balancers and NAT boxes drop an idle connection.
        stream_id_max: the connection drains when an id reaches this. Ids end at 2^31-1 (RFC 9113 §5.1.1); the
            default leaves room for a last batch.
    """

    streams_max: int = 1500
    body_max: int = 65_536
    idle_ping_s: float = 300.0
    stream_id_max: int = 2**31 - 2**17


DEFAULT_LIMITS: Final = Http2Limits()


def never_indexed(name: bytes, value: bytes) -> Header:
    """A header that changes with every request, and that HPACK must not index (RFC 7541 §6.2.3).

    `:path` and `authorization` need no such mark: the engine never indexes them.
    """
    return _tuple(NeverIndexedHeader, (name, value))


class ClientConnection:
    """One connection as a state machine: requests and bytes in, bytes and outcomes out.

    Each call that can decide a request returns the outcomes decided so far, or stores them for `take_outcomes`.
    Every submitted request gets exactly one outcome, whatever the peer does.

    Attributes:
        state: the connection's state.
        reason: why it drains or is closed; "" before. Safe to log.
        failed: whether it ended by a fault (silence, a broken rule, a GOAWAY with an error code, a lost transport).
        silent: whether it ended because the peer did not respond, not even to a PING: no GOAWAY would arrive.
        limit: streams that the peer permits now, at most `streams_max`.
        limit_peak: the highest limit that the peer permitted so far.
    """

    def __init__(
        self,
        *,
        deadline_s: float,
        now_s: float = 0.0,
        limits: Http2Limits = DEFAULT_LIMITS,
    ) -> None:
        """Prepare the preface and the local SETTINGS; `take_output` returns them.

        Args:
            deadline_s: longest wait for a response.
            now_s: the clock's reading now; every later `now_s` is of the same, monotonic clock.
            limits: local limits.
        """
        self.state = ConnectionState.CONNECTING
        self.reason = ""
        self.failed = False
        self.silent = False
        self.limit = 1
        self.limit_peak = 1
        self._deadline_s = deadline_s
        self._limits = limits
        self._received_s = now_s
        self._pinged_s: float | None = None
        self._no_room_since_s: float | None = None  # no stream may be opened although none is in use
        self._strikes = 0
        # No stream may be opened before the next output: some bodies were not sent at the last one, since the peer's
        # window is exhausted, or the engine ends the connection.
        self._blocked = False
        self._contexts: dict[int, Any] = {}  # open and undecided requests, ids ascending
        self._due: deque[tuple[float, int]] = deque()  # (deadline, last stream id with this deadline)
        self._due_until_s = now_s
        self._answers: dict[int, tuple[Header, ...]] = {}
        self._bodies: dict[int, bytes] = {}
        self._unended: set[int] = set()  # the response has begun and not ended
        self._cut: set[int] = set()
        self._late: set[int] = set()  # decided as late, stream still open
        self._outcomes: list[RequestOutcome] = []
        self._engine = Connection(Role.CLIENT, Configuration(peer_max_concurrent_streams=1))
        self._engine.initiate_connection({Setting.ENABLE_PUSH: 0})
        self._engine.set_local_window_size(WINDOW)

    @property
    def capacity(self) -> int:
        """Number of streams that may be opened now.

        Also 0 while request bodies wait for the peer's flow-control window: further requests would only wait with
        them.
        """
        if self.state > ConnectionState.OPEN:
            return 0
        free = self.limit - len(self._contexts) - len(self._late)
        return free if free > 0 and not self._blocked else 0

    @property
    def in_flight(self) -> int:
        """Number of requests without an outcome."""
        return len(self._contexts)

    @property
    def has_outcomes(self) -> bool:
        """Whether `take_outcomes` would return outcomes: an output or a retirement can decide requests too."""
        return bool(self._outcomes)

    def submit(self, headers: Iterable[Header], body: bytes, context: Any, now_s: float) -> None:
        """Send one request. See `submit_batch`."""
        self.submit_batch(((headers, body, context),), now_s)

    def submit_batch(self, requests: Sequence[tuple[Iterable[Header], bytes, Any]], now_s: float) -> None:
        """Send requests: headers with the pseudo-headers first, complete body, context for the outcome.

        Names and values of headers must be valid; they are not checked again here.

        Raises:
            WrongState: there are more than `capacity` requests. None was sent.
        """
        if len(requests) > self.capacity:
            raise WrongState(f"{len(requests)} requests for {self.capacity} free streams")
        request, data, contexts = self._engine.send_request, self._engine.send_data, self._contexts
        stream_id = 0
        for headers, body, context in requests:
            try:
                if body:
                    stream_id = request(headers)
                    data(stream_id, body, end_stream=True)
                else:
                    stream_id = request(headers, end_stream=True)
            except NGH2Error as error:
                self._untried(context, f"not accepted: {type(error).__name__}")
            else:
                contexts[stream_id] = context
        if stream_id:
            self._note_deadline(stream_id, now_s)
            if stream_id >= self._limits.stream_id_max:
                self.retire("stream ids used up")

    def receive(self, data: bytes, now_s: float) -> list[RequestOutcome]:
        """Process bytes from the peer. No input raises: at worst the connection becomes CLOSED and `failed`."""
        if self.state is not ConnectionState.CLOSED:
            self._received_s = now_s
            self._pinged_s = None
            try:
                self._engine.receive_data(data)
                events = self._engine.events()
            except NGH2Error as error:
                self._fail(f"engine: {type(error).__name__}")
            else:
                self._process(events)
                self._note_end()
        return self.take_outcomes()

    def take_output(self) -> bytes:
        """The bytes for the peer, joined. Outcomes that result from sending are stored for `take_outcomes`."""
        try:
            output = self._engine.data_to_send()
            events = self._engine.events()
            self._blocked = self._engine.queued_body_size() > 0
        except NGH2Error:
            return b""
        if events and self.state is not ConnectionState.CLOSED:
            self._process(events)
        return output

    def take_outcomes(self) -> list[RequestOutcome]:
        """The outcomes that were decided and not yet returned."""
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def expire(self, now_s: float) -> list[RequestOutcome]:
        """Decide the requests whose deadline has passed (UNKNOWN), and whether the peer still responds.

        To be called a few times within a deadline; it may add a PING to the output.
        """
        if self.state is not ConnectionState.CLOSED:
            self._expire_streams(now_s)
            self._check_room(now_s)
            self._check_silence(now_s)
            self._close_if_done()
        return self.take_outcomes()

    def retire(self, reason: str) -> None:
        """Open no more streams; close when the open ones have ended. Only the first `reason` is stored."""
        self._step(Step.RETIRE, reason)
        self._close_if_done()

    def lost(self, reason: str = "connection lost") -> list[RequestOutcome]:
        """Record the loss of the transport: every open request is decided."""
        if self.state is not ConnectionState.CLOSED:
            self._fail(reason)
        return self.take_outcomes()

    def _process(self, events: list[Event]) -> None:
        contexts, answers, bodies, outcomes = self._contexts, self._answers, self._bodies, self._outcomes
        for event in events:
            if type(event) is StreamClosed:
                stream_id = event.stream_id
                headers = answers.pop(stream_id, ())
                if not headers or headers[0][1] != b"200" or event.error_code or stream_id in bodies:
                    self._on_closed(event, headers)
                elif (context := contexts.pop(stream_id, _NEVER)) is not _NEVER:
                    # The hot path: a 200 response without a body, ended in order.
                    outcomes.append(_tuple(RequestOutcome, (context, _ANSWERED, 200, headers, b"", "")))
                else:
                    self._late.discard(stream_id)
            elif type(event) is ResponseReceived:
                stream_id = event.stream_id
                answers[stream_id] = event.headers
                if not event.end_stream:
                    bodies[stream_id] = b""
                    self._unended.add(stream_id)
            else:
                self._on_other(event)
        if self.state is ConnectionState.DRAINING:
            self._close_if_done()

    def _note_end(self) -> None:
        """Open no more streams if the peer broke a rule: the engine ends the connection with its next output, which
        also has the reason."""
        if self.state <= ConnectionState.OPEN and not self._engine.can_send_request:
            self._blocked = True

    def _on_closed(self, event: StreamClosed, headers: tuple[Header, ...]) -> None:
        stream_id = event.stream_id
        body = self._bodies.pop(stream_id, b"")
        cut, ended = stream_id in self._cut, stream_id not in self._unended
        self._cut.discard(stream_id)
        self._unended.discard(stream_id)
        if stream_id in self._late:
            self._late.discard(stream_id)
        elif stream_id in self._contexts:
            status = int(headers[0][1]) if headers else 0
            kind, status, reason = decide(status, ended, cut, event.error_code, event.local_error)
            self._outcomes.append(
                RequestOutcome(self._contexts.pop(stream_id), kind, status, headers, body, reason)
            )

    def _on_other(self, event: Event) -> None:
        if self.state is ConnectionState.CLOSED:
            return
        if isinstance(event, DataReceived):
            self._on_data(event)
        elif isinstance(event, TrailersReceived):
            self._unended.discard(event.stream_id)
        elif isinstance(event, SettingsReceived):
            self._on_settings(event.settings)
        elif isinstance(event, GoAwayReceived):
            self.failed = self.failed or event.error_code != 0
            self._step(Step.GOAWAY, goaway_text(event.error_code, event.debug_data))
        elif isinstance(event, ConnectionClosed):
            self._fail(goaway_text(event.error_code, event.debug_data), failed=event.error_code != 0)

    def _on_data(self, event: DataReceived) -> None:
        stream_id = event.stream_id
        if event.end_stream:
            self._unended.discard(stream_id)
        if stream_id in self._cut:
            return
        body = self._bodies.get(stream_id, b"") + event.data
        if len(body) > self._limits.body_max:
            body = body[: self._limits.body_max]
            self._cut.add(stream_id)
            if not event.end_stream:
                with suppress(NGH2Error):  # the connection has just ended, so there is no stream to cancel
                    self._engine.reset_stream(stream_id, _CANCEL)
            self._strike("answers too large")
        self._bodies[stream_id] = body

    def _on_settings(self, settings: Mapping[int, int]) -> None:
        # Unlimited until the peer sends a limit (RFC 9113 §6.5.2); later frames may omit it.
        known = self.limit if self.state is not ConnectionState.CONNECTING else self._limits.streams_max
        granted = settings.get(Setting.MAX_CONCURRENT_STREAMS, known)
        self.limit = min(granted, self._limits.streams_max)
        self.limit_peak = max(self.limit_peak, self.limit)
        self._step(Step.SETTINGS)

    def _note_deadline(self, last_id: int, now_s: float) -> None:
        # Batches within one resolution step share an entry and fall due with its latest, so that a busy connection
        # holds a handful of entries. They are never early, and late by one step at most.
        if not self._due or now_s > self._due_until_s:
            self._due_until_s = now_s + self._deadline_s / GRAINS
            self._due.append((self._due_until_s + self._deadline_s, last_id))
        else:
            self._due[-1] = (self._due[-1][0], last_id)

    def _expire_streams(self, now_s: float) -> None:
        last = 0
        while self._due and self._due[0][0] <= now_s:
            last = self._due.popleft()[1]
        if not last:
            return
        late = []
        for stream_id in self._contexts:
            if stream_id > last:
                break
            late.append(stream_id)
        for stream_id in late:
            self._late.add(stream_id)
            self._outcomes.append(self._outcome_of_open(stream_id, OutcomeKind.UNKNOWN, "deadline"))
            del self._contexts[stream_id]
        if late and len(self._late) >= min(STRIKES_MAX, max(1, self.limit // 2)):
            self.failed = True
            self._step(Step.RETIRE, "late answers")

    def _check_room(self, now_s: float) -> None:
        # The peer permits no stream at all, or its window stays closed. Requests that wait for such a peer have no
        # deadline, and another connection may be better.
        if self.capacity or self._contexts or self.state is not ConnectionState.OPEN:
            self._no_room_since_s = None
        elif self._no_room_since_s is None:
            self._no_room_since_s = now_s
        elif now_s - self._no_room_since_s >= self._deadline_s:
            self.failed = True
            self._step(Step.RETIRE, "no room")

    def _check_silence(self, now_s: float) -> None:
        # A third of the deadline until the PING, a third for its answer.
        patience_s = self._deadline_s / 3
        if self._pinged_s is not None:
            if now_s - self._pinged_s >= patience_s:
                self.silent = True
                self._fail("silent peer")
        elif now_s - self._received_s >= (patience_s if self._contexts else self._limits.idle_ping_s):
            self._pinged_s = now_s
            try:
                self._engine.ping(_PING)
            except NGH2Error as error:
                self._fail(f"engine: {type(error).__name__}")

    def _strike(self, reason: str) -> None:
        self._strikes += 1
        if self._strikes >= STRIKES_MAX:
            self._step(Step.RETIRE, reason)

    def _untried(self, context: Any, reason: str) -> None:
        self._outcomes.append(RequestOutcome(context, OutcomeKind.UNTRIED, reason=reason))
        self._step(Step.RETIRE, reason)

    def _step(self, step: Step, reason: str = "") -> None:
        self.state = advance(self.state, step)
        self.reason = self.reason or reason

    def _close_if_done(self) -> None:
        if self.state is ConnectionState.DRAINING and not self._contexts:
            self._step(Step.EMPTY)
            with suppress(NGH2Error):  # the peer ended the connection first, so no GOAWAY is due
                self._engine.terminate_connection()

    def _fail(self, reason: str, *, failed: bool = True) -> None:
        """End the connection now. Open requests may have been processed, unless a part of the body was not sent."""
        # A transport that is closed after its GOAWAY, without open requests, is an orderly end.
        self.failed = self.failed or (
            failed and (self.state < ConnectionState.DRAINING or bool(self._contexts))
        )
        self._step(Step.LOST, reason)
        queued = self._engine.queued_body_size
        some_queued = queued()
        for stream_id in self._contexts:
            unsent = some_queued and stream_id not in self._answers and queued(stream_id)
            kind = OutcomeKind.UNTRIED if unsent else OutcomeKind.UNKNOWN
            self._outcomes.append(self._outcome_of_open(stream_id, kind, reason))
        self._contexts.clear()

    def _outcome_of_open(self, stream_id: int, kind: OutcomeKind, reason: str) -> RequestOutcome:
        """The outcome of a stream that will not close in time: its response, if that counts."""
        context, headers = self._contexts[stream_id], self._answers.get(stream_id, ())
        if headers:
            ended, status = stream_id not in self._unended, int(headers[0][1])
            answered, status, _ = decide(status, ended, stream_id in self._cut, _CANCEL, None)
            if answered is _ANSWERED:
                return RequestOutcome(context, answered, status, headers, self._bodies.get(stream_id, b""))
        return RequestOutcome(context, kind, reason=reason)
