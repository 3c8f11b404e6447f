"""The RhoConnect Push service: the behaviour of each call, in rhoconnect-push's order of checks (contract §9).

Polls and messages from a cached app are answered without a task. Every other call runs in a task and may wait for
RhoConnect and Redis: a device registers once in its life.
"""

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

import orjson
import structlog

from gateway.clock import SHARED_CLOCK
from gateway.errors import RhoPushError, StoreDown
from gateway.limits.body_budget import BodyBudget
from gateway.limits.connection_limits import ConnectionLimits
from gateway.limits.eviction import ConnectionRegistry
from gateway.mailbox.store import MailboxMessage, MailboxStore
from gateway.metrics import Metrics
from gateway.rhoconnect_push.auth import Authenticator
from gateway.rhoconnect_push.connection import PushConnection
from gateway.rhoconnect_push.long_polls import LongPolls
from gateway.rhoconnect_push.timeouts import Timeouts
from gateway.store.connection import Reply
from protocols.errors import InputError
from protocols.http1.request_parser import PushRequest
from protocols.response_headers import SAFETY_HEADERS
from protocols.rhoconnect_push.ids import INSTANCE_NONCE_BITS, TOKEN_NONCE_BITS, Ids, IdValidity
from protocols.rhoconnect_push.wire import (
    Basic,
    CallKind,
    PostedMessage,
    ServiceCall,
    basic,
    instance_cookie,
    joined_by_comma,
    read_line,
    read_message,
    same_user,
)

_log = structlog.get_logger("rhoconnect_push")

_TICK_S: Final = 1.0
BODIES_BYTES: Final = 67_108_864
"""Memory budget of bodies if none is given."""
_REGISTRATIONS: Final = frozenset({CallKind.REGISTER, CallKind.LOOK_UP, CallKind.UNREGISTER})
_ID_STATUSES: Final = {
    IdValidity.UNKNOWN: 404,
    IdValidity.OUTDATED: 404,
    IdValidity.FORGEABLE: 401,
    IdValidity.WRONG: 401,
}
"""Statuses for ids that are not accepted. After a 404 to its poll an Android device discards its id and starts again
with a new one. After a 401 it keeps the id, discards the cookie, and never requests another one (contract §9.2)."""
_UNSIGNED: Final = frozenset({IdValidity.FORGEABLE, IdValidity.OUTDATED})
_REASONS: Final = {status.value: status.phrase for status in HTTPStatus}


class PushTimeouts(NamedTuple):
    """Time limits, in seconds.

    Attributes:
        wait_s: longest wait of a poll; 0: unlimited.
        request_s: from the first byte of a request to its last.
        idle_s: between two requests.
    """

    wait_s: float = 90.0
    request_s: float = 15.0
    idle_s: float = 75.0


class PushService:
    """All connections of one listening socket; also the factory of their protocols.

    Args:
        store: registrations and queues.
        ids: creates and validates ids; None: `ids` is set later, and every call is answered with 503 until then.
        authenticator: authenticates users and apps.
        timeouts: time limits.
        metrics: receives the number of waiting devices.
        now: epoch seconds.
        bodies: the memory budget of long bodies; None: a budget for this service alone.
        limits: the limits of connections; None: derived from RLIMIT_NOFILE, for this service alone.
    """

    def __init__(
        self,
        store: MailboxStore,
        ids: Ids | None,
        authenticator: Authenticator,
        timeouts: PushTimeouts,
        metrics: Metrics,
        now: Callable[[], float] = SHARED_CLOCK.now_s,
        bodies: BodyBudget | None = None,
        limits: ConnectionLimits | None = None,
    ) -> None:
        self._store = store
        self.ids = ids
        self._authenticator = authenticator
        self._metrics = metrics
        self._now = now
        self.bodies = bodies or BodyBudget(BODIES_BYTES)
        self._limits = limits or ConnectionLimits()
        self.client_of: Callable[[str, str], str] = lambda peer, _forwarded_for: peer
        """Maps a peer's address and X-Forwarded-For to the client among which authentication is shared fairly."""
        self._loop = asyncio.get_running_loop()
        self.polls = LongPolls(store, round(timeouts.wait_s / _TICK_S))
        self._reading: Timeouts[PushConnection] = Timeouts(max(1, round(timeouts.request_s / _TICK_S)))
        self._idle: Timeouts[PushConnection] = Timeouts(max(1, round(timeouts.idle_s / _TICK_S)))
        self.connections: ConnectionRegistry[PushConnection] = ConnectionRegistry(
            self._limits.push_full, self._limits.count_push
        )
        self._empty = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ticks = 0
        self._heads: dict[tuple[int, bool], bytes] = {}
        self.draining = False
        store.set_listener(self.polls)
        self._timer: asyncio.TimerHandle | None = None
        self._tick()

    def __call__(self) -> PushConnection:
        """Create the protocol of a new connection."""
        return PushConnection(self)

    # -- connections -----------------------------------------------------------------------------------------

    def connection_opened(self, connection: PushConnection) -> bool:
        """Register a new connection; returns False at the connection limit if no connection can be closed for it.

        A poll that waits is not closed for a new connection.
        """
        connection.order = self.connections.next_use()
        if not self.connections.add(connection):
            return False
        self._idle.start(connection, self._ticks)
        return True

    def trust(self, connection: PushConnection) -> None:
        """Mark a connection that carried a valid id or valid credentials as trusted (`gateway.limits.eviction`)."""
        connection.trusted = True
        self.connections.trust(connection)

    def refuse(self, transport: asyncio.Transport) -> None:
        """Close a connection beyond the connection limit."""
        self._limits.refuse(transport)

    def request_started(self, connection: PushConnection) -> None:
        """Start the time limit of a request."""
        self._idle.stop(connection)
        self._reading.start(connection, self._ticks)

    def request_answered(self, connection: PushConnection) -> None:
        """Start the time limit of an idle connection."""
        self._reading.stop(connection)
        self._idle.start(connection, self._ticks)
        connection.order = self.connections.next_use()

    def connection_closed(self, connection: PushConnection) -> None:
        """Remove a closed connection."""
        self.connections.remove(connection)
        self._reading.stop(connection)
        self._idle.stop(connection)
        self.polls.end(connection)
        if self.draining and not self.connections:
            self._empty.set()

    def head(self, status: int, length: int, closing: bool) -> bytes:
        """Return the head of a response, up to further headers."""
        head = self._heads.get((status, closing))
        if head is None:
            connection = "close" if closing else "keep-alive"
            lines = [f"HTTP/1.1 {status} {_REASONS[status]}", f"Date: {formatdate(self._now(), usegmt=True)}"]
            lines += [f"{name}: {value}" for name, value in SAFETY_HEADERS]
            head = "\r\n".join([*lines, f"Connection: {connection}", ""]).encode()
            self._heads[status, closing] = head
        if length:
            return head + b"Content-Type: application/json\r\nContent-Length: %d\r\n" % length
        return head if status == 204 else head + b"Content-Length: 0\r\n"

    async def close(self, budget_s: float) -> None:
        """Answer all polls with 204, so that the devices reconnect elsewhere, and close within the budget."""
        self.draining = True
        self.polls.release()
        for watch in (self._idle, self._reading):
            for connection in watch.expired(self._ticks + 1_000_000_000):
                connection.finish()
        if self.connections:
            try:
                async with asyncio.timeout(budget_s):
                    await self._empty.wait()
            except TimeoutError:
                _log.warning("rhoconnect_push_connections_dropped", connections=len(self.connections))
        if self._timer is not None:
            self._timer.cancel()
        for task in tuple(self._tasks):
            task.cancel()
        self._metrics.rhoconnect_push_waiting_devices.set(0)

    def _tick(self) -> None:
        self._ticks += 1
        self._heads.clear()  # they contain the date
        self.polls.tick(self._ticks)
        for watch in (self._idle, self._reading):
            for connection in watch.expired(self._ticks):
                connection.expire()
        self._metrics.rhoconnect_push_waiting_devices.set(len(self.polls))
        if refused := self._limits.take_refused():
            _log.warning("http_connections_refused", count=refused)
        self._timer = self._loop.call_later(_TICK_S, self._tick)

    # -- requests --------------------------------------------------------------------------------------------

    def handle(self, connection: PushConnection, request: PushRequest) -> None:
        """Handle a complete request: answer it, or start a task that does."""
        self._reading.stop(connection)
        call = read_line(request.method, request.target)
        if call is None:
            connection.answer(403)
        elif self.ids is None:
            connection.answer(503)
        elif call.kind is CallKind.POLL:
            self._poll(connection, call, request)
        elif call.kind is CallKind.POST:
            self._post(connection, call, request)
        else:
            self._spawn(connection, self._device(connection, call, request))

    @property
    def _ids(self) -> Ids:
        if self.ids is None:
            raise StoreDown("the secret that signs ids is not loaded yet")
        return self.ids

    def _poll(self, connection: PushConnection, call: ServiceCall, request: PushRequest) -> None:
        validity = self._ids.of_cookie(instance_cookie(request.cookies), call.name)
        if validity is not IdValidity.GOOD:
            connection.answer(_ID_STATUSES[validity])
        elif self.draining:
            connection.answer(204)
        else:
            self.trust(connection)
            self.polls.begin(connection, call.name, call.last, self._ticks)

    def _client(self, connection: PushConnection, request: PushRequest) -> str:
        return self.client_of(connection.peer, request.list_of(b"x-forwarded-for"))

    # -- messages of app servers -----------------------------------------------------------------------------

    def _post(self, connection: PushConnection, call: ServiceCall, request: PushRequest) -> None:
        try:
            posted = read_message(request.header(b"content-type") or "", request.body)
        except InputError:
            connection.answer(400)
            return
        authorization = request.header(b"authorization") or ""
        app = basic(authorization)
        if not call.name:
            connection.answer(403)
        elif not app.encoded:
            connection.answer(401)
        elif self._authenticator.is_app_cached(authorization):
            self.trust(connection)
            self._queue(connection, call.name, app.name, posted)
        else:
            client = self._client(connection, request)
            self._spawn(connection, self._ask_and_queue(connection, call.name, authorization, posted, client))

    async def _ask_and_queue(
        self, connection: PushConnection, token: str, authorization: str, posted: PostedMessage, client: str
    ) -> None:
        if await self._authenticator.app(authorization, client):
            self.trust(connection)
            self._queue(connection, token, basic(authorization).name, posted)
        else:
            connection.answer(401)

    def _queue(self, connection: PushConnection, token: str, app: str, posted: PostedMessage) -> None:
        validity = self._ids.of_token(token, app)
        if validity is not IdValidity.GOOD:
            connection.answer(_ID_STATUSES[validity])
            return

        def queued(reply: Reply) -> None:
            if isinstance(reply, StoreDown):
                connection.answer(503)
            else:
                connection.answer(204 if reply else 404)

        self._store.post(MailboxMessage(token, posted.data, posted.collapse, app), queued)

    # -- registration of devices -----------------------------------------------------------------------------

    async def _device(self, connection: PushConnection, call: ServiceCall, request: PushRequest) -> None:
        """Handle a call that requires a user: check the cookie (registrations), then the user, then serve the call."""
        cookies, authorization = request.cookies, request.header(b"authorization")
        user = basic(authorization)
        registration = call.kind in _REGISTRATIONS
        validity = IdValidity.GOOD
        if registration:
            validity = self._ids.of_cookie(instance_cookie(cookies), call.name)
        good = validity is not IdValidity.WRONG
        good = good and await self._authenticator.user(
            cookies, authorization, self._client(connection, request)
        )
        if good:
            self.trust(connection)
        if not good or (registration and not same_user(call.user, user)):
            connection.answer(401)
        elif validity is IdValidity.GOOD or self._may_register(validity, call, user):
            await self._serve(connection, call, user, repeats=joined_by_comma(cookies))
        else:
            connection.answer(401 if validity is IdValidity.OUTDATED else _ID_STATUSES[validity])

    def _may_register(self, validity: IdValidity, call: ServiceCall, user: Basic) -> bool:
        """Return whether an authenticated user may register with ids that polls do not accept.

        A device polls only with a registration, and discards its id only after a poll: a device whose registration is
        refused would never begin again. Nobody can poll an id of a lost secret. An id without a signature must be the
        user's own: its registrations may be in use with a signed cookie.
        """
        if validity is IdValidity.UNKNOWN:
            return call.kind is CallKind.REGISTER
        return validity in _UNSIGNED and self._ids.made_for(call.name, user.name)

    async def _serve(
        self, connection: PushConnection, call: ServiceCall, user: Basic, *, repeats: bool
    ) -> None:
        """Serve a call of an authenticated user.

        Args:
            repeats: whether a Windows device calls. It repeats a call that is answered with 404 without end, and looks
                up a registration that it knows instead of registering again (contract §9.1): therefore a lookup of a
                registration that is gone registers the app, and the end of one that is gone succeeds.
        """
        if call.kind is CallKind.CREATE:
            instance = self._ids.instance(user.name, secrets.randbits(INSTANCE_NONCE_BITS))
            connection.answer(200, orjson.dumps({"instance": instance}))
        elif call.kind is CallKind.COOKIE:
            await self._give_cookie(connection, call.name, user.name)
        elif call.kind is CallKind.FORGET:
            connection.answer(204 if await self._store.forget(call.name) else 404)
        elif call.kind is CallKind.REGISTER:
            await self._register(connection, call, user)
        elif call.kind is CallKind.LOOK_UP:
            registrant = self._ids.registrant(_registrant(call, user))
            found = await self._store.token_of(call.name, call.app, registrant)
            if found is None and repeats:
                await self._register(connection, call, user, status=200)
            else:
                _answer_token(connection, 200, found, 404)
        else:
            ended = await self._store.unregister(call.name, call.app)
            connection.answer(204 if ended or repeats else 404)

    async def _give_cookie(self, connection: PushConnection, instance: str, user: str) -> None:
        """Answer with a signed cookie in every case, so that devices gradually leave rhoconnect-push's scheme."""
        if not self._ids.made_for(instance, user):
            connection.answer(404)
            return
        cookie = self._ids.cookie(instance)
        # `Secure` and `HttpOnly` are separate headers, as in rhoconnect-push.
        connection.answer(
            204, headers=f"Set-Cookie: instance={cookie}\r\nSecure: true\r\nHttpOnly: true\r\n".encode()
        )

    async def _register(
        self, connection: PushConnection, call: ServiceCall, user: Basic, *, status: int = 201
    ) -> None:
        ids, name = self._ids, _registrant(call, user)
        token = ids.token(call.app, secrets.randbits(TOKEN_NONCE_BITS), name)
        made_for_user = ids.made_for(call.name, user.name)
        held = await self._store.register(
            call.name, call.app, token, ids.registrant(name), made_for_user=made_for_user
        )
        _answer_token(connection, status, held, 403)

    # -- tasks -----------------------------------------------------------------------------------------------

    def _spawn(self, connection: PushConnection, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)

        def done(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if task.cancelled():
                connection.abort()
            elif (error := task.exception()) is not None:
                _answer_error(connection, error)

        task.add_done_callback(done)


def _registrant(call: ServiceCall, user: Basic) -> str:
    """The user who registers an app: the user of the credentials, else the user in the path."""
    return user.name or unquote(call.user)


def _answer_token(connection: PushConnection, status: int, token: str | None, otherwise: int) -> None:
    if token is None:
        connection.answer(otherwise)
    else:
        connection.answer(status, orjson.dumps({"token": token}))


def _answer_error(connection: PushConnection, error: BaseException) -> None:
    if isinstance(error, RhoPushError):
        connection.answer(error.status if error.status in _REASONS else 500)
        return
    _log.error("rhoconnect_push_call_failed", exc_info=error)
    connection.answer(500)
