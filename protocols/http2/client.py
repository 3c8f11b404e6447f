"""The client's side of one HTTP/2 connection to a provider, without any I/O.

Strategy:
- The engine queues requests beyond the peer's stream limit without bound and without a word, so it never gets
  more than `capacity`: what is not handed over is not at risk when the connection ends, and deadlines run on
  sent requests.
- A request is decided when its stream closes, not when its answer's head arrives (RFC 9113 §8.1: a reset may
  follow).
- Deadlines are one for all requests, so requests fall due in the order they were sent. An
  entry for many, and the streams' own ascending ids, make the check O(1) amortised.
- A late stream is not reset: a burst of resets makes servers close, and late answers to reset streams count
  as abuse on our own side. It keeps its slot until it closes; a connection with many of them is retired.
- A peer that says nothing at all is asked by PING; silence after that ends the connection before the
  deadlines would. One that answers but leaves no room for a stream is left after a deadline.
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

# So many late or cut answers and a connection is no longer trusted.
STRIKES_MAX: Final = 16
# Deadlines are kept to this part of their length.
GRAINS: Final = 64
# Every answer of a full house of streams may hold an error body; 64 KiB would then need several round trips.
WINDOW: Final = 1 << 20

_PING: Final = b"rho push"
_ANSWERED: Final = OutcomeKind.ANSWERED  # an enum's member costs three look-ups
_NEVER: Final = object()  # stands for no context: None may be one
# What `RequestOutcome(...)` comes to, without the call of Python that a named tuple's constructor is.
_tuple: Final = tuple.__new__
_CANCEL: Final = 0x08


@dataclass(frozen=True, slots=True)
class Http2Limits:
    """Our own limits of a connection. The defaults suit APNs and FCM.

    Attributes:
        streams_max: open streams, whatever the peer allows. APNs was seen to grant 500 to 1,500; each takes
            about 1.1 kB.
        body_max: bytes kept of an answer's body; a longer one is cut and its stream cancelled. Providers
            answer with a few hundred bytes.
        idle_ping_s: silence on an idle connection after which a PING asks whether the peer is there: well
            under the ten minutes after which load balancers and NAT boxes forget a quiet connection.
        stream_id_max: the connection drains when an id reaches this. Ids end at 2^31-1 (RFC 9113 §5.1.1); the
            default leaves room for a last batch.
    """

    streams_max: int = 1500
    body_max: int = 65_536
    idle_ping_s: float = 300.0
    stream_id_max: int = 2**31 - 2**17


DEFAULT_LIMITS: Final = Http2Limits()


def never_indexed(name: bytes, value: bytes) -> Header:
    """A header that changes with every request: HPACK must not keep it (RFC 7541 §6.2.3).

    `:path` and `authorization` need no such mark: the engine never indexes them.
    """
    return _tuple(NeverIndexedHeader, (name, value))


class ClientConnection:
    """One connection as a state machine: requests and bytes in, bytes and outcomes out.

    Each call that can decide something returns the outcomes decided so far, or keeps them for
    `take_outcomes`. An outcome is given exactly once for every submitted request, whatever the peer does.

    Attributes:
        state: where the connection stands.
        reason: why it drains or is closed; "" before. Safe to log.
        failed: it ended by a fault (silence, a broken rule, a GOAWAY with an error code, a lost transport).
        silent: it ended because the peer said nothing, not even to a PING: no farewell will reach it.
        limit: streams the peer allows now, at most `streams_max`.
        limit_peak: the highest limit the peer allowed so far.
    """

    def __init__(
        self,
        *,
        deadline_s: float,
        now_s: float = 0.0,
        limits: Http2Limits = DEFAULT_LIMITS,
    ) -> None:
        """Prepare the preface and our SETTINGS; `take_output` has them.

        Args:
            deadline_s: how long a request may be without an answer.
            now_s: the clock's reading now; every later `now_s` is of the same, monotonic clock.
            limits: our own limits.
        """
        self.state = ConnectionState.CONNECTING
        self.reason = ""
        self.failed = False
        self.silent = False
        self.limit = 1
        self.limit_peak = 1
        self._deadline_s = deadline_s
        self._limits = limits
        self._heard_s = now_s
        self._pinged_s: float | None = None
        self._shut_s: float | None = None  # since when no stream may be opened though none is in use
        self._strikes = 0
        self._blocked = False  # bodies were left over when output was last taken: the peer's window is closed
        self._contexts: dict[int, Any] = {}  # open and not yet decided, ids ascending
        self._due: deque[tuple[float, int]] = deque()  # (deadline, last stream id it is for)
        self._due_until_s = now_s
        self._answers: dict[int, tuple[Header, ...]] = {}
        self._bodies: dict[int, bytes] = {}
        self._unended: set[int] = set()  # an answer began, its end has not come
        self._cut: set[int] = set()
        self._late: set[int] = set()  # decided as late, stream still open
        self._outcomes: list[RequestOutcome] = []
        self._engine = Connection(Role.CLIENT, Configuration(peer_max_concurrent_streams=1))
        self._engine.initiate_connection({Setting.ENABLE_PUSH: 0})
        self._engine.set_local_window_size(WINDOW)

    @property
    def capacity(self) -> int:
        """How many streams may be opened now.

        Also 0 while request bodies wait for the peer's flow-control window: more would only wait with them.
        """
        if self.state > ConnectionState.OPEN:
            return 0
        free = self.limit - len(self._contexts) - len(self._late)
        return free if free > 0 and not self._blocked else 0

    @property
    def in_flight(self) -> int:
        """Requests without an outcome."""
        return len(self._contexts)

    @property
    def has_outcomes(self) -> bool:
        """Whether `take_outcomes` has something: an output or a retirement can decide requests too."""
        return bool(self._outcomes)

    def submit(self, headers: Iterable[Header], body: bytes, context: Any, now_s: float) -> None:
        """Send one request. See `submit_batch`."""
        self.submit_batch(((headers, body, context),), now_s)

    def submit_batch(self, requests: Sequence[tuple[Iterable[Header], bytes, Any]], now_s: float) -> None:
        """Send requests: headers with the pseudo-headers first, whole body, context for the outcome.

        Headers must be of valid names and values; they are not checked again here.

        Raises:
            WrongState: more than `capacity`. Nothing was sent.
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
                self._untried(context, f"not taken: {type(error).__name__}")
            else:
                contexts[stream_id] = context
        if stream_id:
            self._note_deadline(stream_id, now_s)
            if stream_id >= self._limits.stream_id_max:
                self.retire("stream ids used up")

    def receive(self, data: bytes, now_s: float) -> list[RequestOutcome]:
        """Take bytes from the peer. Nothing they hold raises: at worst it ends CLOSED and `failed`."""
        if self.state is not ConnectionState.CLOSED:
            self._heard_s = now_s
            self._pinged_s = None
            try:
                self._engine.receive_data(data)
                events = self._engine.events()
            except NGH2Error as error:
                self._fail(f"engine: {type(error).__name__}")
            else:
                self._digest(events)
        return self.take_outcomes()

    def take_output(self) -> bytes:
        """Bytes for the peer, as one piece. What sending decides is kept for `take_outcomes`."""
        try:
            output = self._engine.data_to_send()
            events = self._engine.events()
            self._blocked = self._engine.queued_body_size() > 0
        except NGH2Error:
            return b""
        if events and self.state is not ConnectionState.CLOSED:
            self._digest(events)
        return output

    def take_outcomes(self) -> list[RequestOutcome]:
        """The outcomes decided and not yet given."""
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def expire(self, now_s: float) -> list[RequestOutcome]:
        """Decide the requests whose deadline has passed (UNKNOWN), and whether the peer is still there.

        To be called a few times within a deadline; it may add a PING to the output.
        """
        if self.state is not ConnectionState.CLOSED:
            self._expire_streams(now_s)
            self._check_room(now_s)
            self._check_silence(now_s)
            self._close_if_done()
        return self.take_outcomes()

    def retire(self, reason: str) -> None:
        """Open no more streams; close when the open ones have ended. `reason` is kept if it is the first."""
        self._step(Step.RETIRE, reason)
        self._close_if_done()

    def lost(self, reason: str = "connection lost") -> list[RequestOutcome]:
        """The transport is gone: every request still open is decided."""
        if self.state is not ConnectionState.CLOSED:
            self._fail(reason)
        return self.take_outcomes()

    def _digest(self, events: list[Event]) -> None:
        contexts, answers, bodies, outcomes = self._contexts, self._answers, self._bodies, self._outcomes
        for event in events:
            if type(event) is StreamClosed:
                stream_id = event.stream_id
                headers = answers.pop(stream_id, ())
                if not headers or headers[0][1] != b"200" or event.error_code or stream_id in bodies:
                    self._on_closed(event, headers)
                # The hot path: an answer of 200 without a body, ended in order.
                elif (context := contexts.pop(stream_id, _NEVER)) is not _NEVER:
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
            fate, status, reason = decide(status, ended, cut, event.error_code, event.local_error)
            self._outcomes.append(
                RequestOutcome(self._contexts.pop(stream_id), fate, status, headers, body, reason)
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
                with suppress(NGH2Error):  # the connection has just ended: nothing to cancel
                    self._engine.reset_stream(stream_id, _CANCEL)
            self._strike("answers too large")
        self._bodies[stream_id] = body

    def _on_settings(self, settings: Mapping[int, int]) -> None:
        # Unlimited until the peer says otherwise (RFC 9113 §6.5.2); later frames may leave it out.
        known = self.limit if self.state is not ConnectionState.CONNECTING else self._limits.streams_max
        granted = settings.get(Setting.MAX_CONCURRENT_STREAMS, known)
        self.limit = min(granted, self._limits.streams_max)
        self.limit_peak = max(self.limit_peak, self.limit)
        self._step(Step.SETTINGS)

    def _note_deadline(self, last_id: int, now_s: float) -> None:
        # Batches of one grain share an entry and fall due with its latest, so that a busy connection holds a
        # handful of entries. Never early, late by a grain at most.
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
            self._outcomes.append(self._unclosed(stream_id, OutcomeKind.UNKNOWN, "deadline"))
            del self._contexts[stream_id]
        if late and len(self._late) >= min(STRIKES_MAX, max(1, self.limit // 2)):
            self.failed = True
            self._step(Step.RETIRE, "late answers")

    def _check_room(self, now_s: float) -> None:
        # A limit of no stream at all, or a window that stays shut. Requests that wait for such a peer have no
        # deadline, and another connection may be better off.
        if self.capacity or self._contexts or self.state is not ConnectionState.OPEN:
            self._shut_s = None
        elif self._shut_s is None:
            self._shut_s = now_s
        elif now_s - self._shut_s >= self._deadline_s:
            self.failed = True
            self._step(Step.RETIRE, "no room")

    def _check_silence(self, now_s: float) -> None:
        # A third of the deadline to become suspicious, a third for the PING's answer.
        patience_s = self._deadline_s / 3
        if self._pinged_s is not None:
            if now_s - self._pinged_s >= patience_s:
                self.silent = True
                self._fail("silent peer")
        elif now_s - self._heard_s >= (patience_s if self._contexts else self._limits.idle_ping_s):
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
            with suppress(NGH2Error):  # the peer ended it first: no farewell is due
                self._engine.terminate_connection()

    def _fail(self, reason: str, *, failed: bool = True) -> None:
        """End now. What is open may have been processed, unless part of its body never left."""
        # A transport that goes away after its GOAWAY, with nothing open, is an orderly end.
        self.failed = self.failed or (
            failed and (self.state < ConnectionState.DRAINING or bool(self._contexts))
        )
        self._step(Step.LOST, reason)
        queued = self._engine.queued_body_size
        some_queued = queued()
        for stream_id in self._contexts:
            unsent = some_queued and stream_id not in self._answers and queued(stream_id)
            fate = OutcomeKind.UNTRIED if unsent else OutcomeKind.UNKNOWN
            self._outcomes.append(self._unclosed(stream_id, fate, reason))
        self._contexts.clear()

    def _unclosed(self, stream_id: int, fate: OutcomeKind, reason: str) -> RequestOutcome:
        """The outcome of a stream that will not close in time: the answer that it has, if that counts."""
        context, headers = self._contexts[stream_id], self._answers.get(stream_id, ())
        if headers:
            ended, status = stream_id not in self._unended, int(headers[0][1])
            answered, status, _ = decide(status, ended, stream_id in self._cut, _CANCEL, None)
            if answered is _ANSWERED:
                return RequestOutcome(context, answered, status, headers, self._bodies.get(stream_id, b""))
        return RequestOutcome(context, fate, reason=reason)
