"""Multiplexed connection to Redis for the hot paths.

An awaited command through redis-py costs about 100 µs, which is too much for the appends of the ingresses and the
look-ups of the fan-out. A `RedisConnection` packs commands with hiredis, joins all calls of one event loop iteration
into one write, and passes each reply to its callback in order. It never sends a command twice: a command whose reply
was lost ends with `ConnectionLost`, and the caller decides whether to repeat it.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias, cast

import hiredis
import structlog

from gateway.errors import BAD_DATA, RhoPushError, StoreDown, StoreRefused
from gateway.scheduling.background import run_in_background
from gateway.store.address import RedisAddress
from gateway.store.client_factory import Node, connect
from gateway.store.command_encoding import Argument, UnsendableCommand, pack
from gateway.store.error_replies import ERROR_REPLY_LOG
from gateway.store.handshake import handshake
from gateway.store.master_watch import watching_master
from gateway.store.replies import ConnectionLost, RedisReplyError, RedisReplyRefused, reply_error, resolver
from gateway.store.round_trips import RoundTrips
from gateway.store.script import Script
from gateway.system.network_errors import describe
from gateway.telemetry.values import Histogram

__all__ = [
    "Argument",
    "Callback",
    "ConnectionLost",
    "RedisConnection",
    "RedisProtocol",
    "RedisReplyError",
    "RedisReplyRefused",
    "Reply",
    "Script",
    "pack",
]

Reply = Any
"""A reply: bytes, int, None, list; `RedisReplyError` for an error reply; `ConnectionLost` if no reply arrived."""
Callback = Callable[[Reply], None]
Lost: TypeAlias = Callable[["RedisProtocol"], None]
_log = structlog.get_logger("redis_connection")
_BACKOFF_S: Final = (0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
_CONNECT_S: Final = 3.0
_STABLE_S: Final = 1.0
"""After a connection that ended sooner, the next attempt is delayed."""
_LOG_INTERVAL_S: Final = 60.0
"""Interval between log lines about connections that Redis closed with an error: a replica closes several a second."""
_READ_ONLY: Final = "READONLY"
"""Part of the error of a server that became a replica. Redis 6.2 does not put it first in the error of a script."""
_SUBSCRIBED: Final = (b"subscribe", b"psubscribe")


class RedisProtocol(asyncio.Protocol):
    """The protocol of one TCP or unix connection: commands out, replies in, in order."""

    def __init__(self, node: Node, on_lost: Lost, on_push: Callback | None) -> None:
        self._on_lost = on_lost
        self._on_push = on_push
        self._reader = hiredis.Reader(replyError=self._fault, protocolError=RedisReplyError)
        self._waiting: deque[Callback] = deque()
        self._outgoing: list[bytes] = []
        self._loop = asyncio.get_running_loop()
        self.reason: str | None = None
        """The last error of Redis, if Redis closed the connection with one."""
        self.transport: asyncio.Transport | None = None
        self.node = node
        self.answered = 0
        self.round_trips: RoundTrips | None = None
        self.name = ""
        """The purpose of the connection, set after the handshake: from then on lasting refusals are logged."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; nothing is sent before the first `call`."""
        # uvloop's transports do not inherit from asyncio.Transport
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Pass every complete reply to its callback."""
        reader, waiting = self._reader, self._waiting
        try:
            reader.feed(data)
            while True:
                reply = reader.gets()
                if reply is False:
                    if self.round_trips is not None:
                        self.round_trips.answered(self.answered)
                    return
                if self._on_push is not None and isinstance(reply, hiredis.PushNotification):
                    if reply[0] in _SUBSCRIBED:
                        self._subscribed()
                    else:
                        _hand_over(self._on_push, reply)
                elif waiting:
                    self.answered += 1
                    _hand_over(waiting.popleft(), reply)
                    if isinstance(reply, RedisReplyError) and _READ_ONLY in reply.words:
                        self.abort(reply.words)
                        return
                else:
                    self._on_unsolicited(reply)
                    return
        except RedisReplyError as error:
            self.abort(error.words)

    def _fault(self, words: str) -> RedisReplyError:
        """The exception for an error reply."""
        fault = reply_error(words)
        if self.name and isinstance(fault, RedisReplyRefused):
            ERROR_REPLY_LOG.log(fault.words, self.name)
        return fault

    def _subscribed(self) -> None:
        """Confirm a subscription: Redis confirms it out of band but in order with the replies, and refuses it by a
        reply."""
        self.answered += 1
        if self._waiting:
            self._waiting.popleft()(b"OK")

    def _on_unsolicited(self, reply: Reply) -> None:
        """Close the connection after a reply to no command: a server at its `maxclients` sends an error before any
        command."""
        self.abort(reply.words if isinstance(reply, RedisReplyError) else "a reply to no command")

    def connection_lost(self, exc: Exception | None) -> None:
        """Call the owner, then the callback of every command without a reply."""
        lost = ConnectionLost(
            f"the connection to Redis was lost ({self.reason or exc or 'closed'})", sent=True
        )
        waiting, self._waiting = self._waiting, deque()
        self._outgoing.clear()  # uvloop raises if a closed transport is written to
        try:
            self._on_lost(self)
        finally:
            for callback in waiting:
                _hand_over(callback, lost)

    def call(self, words: Sequence[Argument], callback: Callback) -> None:
        """Send a command together with the others of this event loop iteration; `callback` receives its reply.

        A command with a value that Redis cannot carry is not sent: `callback` receives `UnsendableCommand`
        immediately.
        """
        try:
            packed = pack(words)
        except UnsendableCommand as error:
            callback(error)
            return
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(packed)
        self._waiting.append(callback)

    def send_many(self, packed: Sequence[bytes], callback: Callback) -> None:
        """Send many packed commands at once; `callback` is called with each reply in turn."""
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing += packed
        self._waiting.extend([callback] * len(packed))

    def _flush(self) -> None:
        if self._outgoing and self.transport is not None and not self.transport.is_closing():
            self.transport.write(b"".join(self._outgoing))
            if self.round_trips is not None:
                self.round_trips.sent(self.answered + len(self._waiting))
        self._outgoing.clear()

    @property
    def closing(self) -> bool:
        """Whether the connection is closed or closing."""
        return self.transport is None or self.transport.is_closing()

    def ended(self) -> ConnectionLost:
        """The error for a command that was not sent."""
        return ConnectionLost(f"the connection to Redis was lost ({self.reason or 'closed'})", sent=False)

    @property
    def waiting(self) -> int:
        """Number of commands without a reply."""
        return len(self._waiting)

    def abort(self, reason: str | None = None) -> None:
        """Close the connection immediately.

        Args:
            reason: why it cannot be used: its replies are out of step, or its server is no longer the master.
        """
        self.reason = reason or self.reason
        if self.transport is not None:
            self.transport.abort()


def _hand_over(callback: Callback, reply: Reply) -> None:
    """Call a callback. An exception in it must not prevent the other callbacks from running."""
    try:
        callback(reply)
    except BAD_DATA:
        _log.exception("reply_callback_failed")


def _ignore(_: Reply) -> None:
    """Discard a reply."""


class RedisConnection:
    """A connection to Redis that reconnects by itself.

    Args:
        address: the address of Redis.
        name: CLIENT SETNAME, which shows operators the purpose of each connection.
        reply_s: seconds after which a missing reply means a broken connection (blocking commands: longer than the
            block).
        on_push: receives out-of-band messages (invalidations).
        on_up: called with each new connection, before anything else is sent on it.
        on_down: called when a connection was lost.
        seconds: counts round trips; not for a connection with blocking commands. None: not measured.
    """

    def __init__(
        self,
        address: RedisAddress,
        name: str,
        *,
        reply_s: float = 5.0,
        on_push: Callback | None = None,
        on_up: Callable[[], None] | None = None,
        on_down: Callable[[], None] | None = None,
        seconds: Histogram | None = None,
    ) -> None:
        self._seconds = seconds
        self._address = address
        self._name = name
        self._reply_s = reply_s
        self._on_push = on_push
        self._on_up = on_up
        self._on_down = on_down
        self._protocol: RedisProtocol | None = None
        self._up = asyncio.Event()
        self._down = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._logged_s = float("-inf")
        self._since_s = float("-inf")
        self.error: str | None = None
        self._refusal: str | None = None
        """The error with which Redis refuses new connections until an operator changes its configuration."""
        self._tried = asyncio.Event()
        """Set once a connection was established or refused."""

    @property
    def up_s(self) -> float:
        """Seconds since the last reconnect; infinite if the connection was never lost, 0 if it is down."""
        return 0.0 if self._protocol is None else time.monotonic() - self._since_s

    @property
    def up(self) -> bool:
        """Whether commands can be sent now."""
        return self._protocol is not None

    def start(self) -> None:
        """Connect in the background, and stay connected until `close`."""
        self._tried.clear()
        self._refusal = None
        self._task = run_in_background(self._keep, f"redis:{self._name}")

    async def open(self, timeout_s: float | None = None) -> None:
        """Call `start`, and wait until the connection is established.

        Raises:
            StoreDown: Redis could not be reached in `timeout_s`.
            StoreRefused: Redis refuses the connection; raised without further waiting.
        """
        self.start()
        try:
            async with asyncio.timeout(timeout_s):
                await self._tried.wait()
        except TimeoutError as error:
            await self.close()
            raise StoreDown(
                f"Redis at {self._address} cannot be reached: {self.error or 'it does not answer'}"
            ) from error
        if self._refusal is not None:
            await self.close()
            raise StoreRefused(f"Redis at {self._address} refuses: {self._refusal}")

    async def close(self) -> None:
        """Close the connection; commands without a reply end with `ConnectionLost`."""
        self.abandon()
        if self._task is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    def abandon(self) -> None:
        """Close the connection at once, and do not establish it again; `close` is still called at the end."""
        if self._task is not None:
            self._task.cancel()
        if self._protocol is not None:
            self._protocol.abort()

    async def wait_up(self) -> None:
        """Wait until commands can be sent."""
        await self._up.wait()

    def call_then(self, words: Sequence[Argument], callback: Callback) -> None:
        """Send one command. `callback` may run before this returns; it receives the reply or the error."""
        if self._protocol is None:
            callback(self._not_connected())
        else:
            self._protocol.call(words, callback)

    def call(self, *words: Argument) -> asyncio.Future[Reply]:
        """Send one command.

        Raises (when awaited):
            RedisReplyError: Redis refused it.
            ConnectionLost: the connection was lost before its reply.
        """
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.call_then(words, resolver(future))
        return future

    def send_many(self, packed: Sequence[bytes]) -> asyncio.Future[list[Reply]]:
        """Send many commands that the caller has packed, with one future for all of them.

        Returns:
            The reply to each command, in order; `RedisReplyError` for a command that Redis refused.

        Raises (when awaited):
            ConnectionLost: the connection was lost before the last reply.
        """
        future: asyncio.Future[list[Reply]] = asyncio.get_running_loop().create_future()
        if not packed:
            future.set_result([])
            return future
        if self._protocol is None:
            future.set_exception(self._not_connected())
            return future
        replies: list[Reply] = []

        def collect(reply: Reply) -> None:
            replies.append(reply)
            if len(replies) == len(packed) and not future.done():
                if isinstance(reply, ConnectionLost):
                    future.set_exception(reply)
                else:
                    future.set_result(replies)

        self._protocol.send_many(packed, collect)
        return future

    def send(self, *words: Argument) -> None:
        """Send one command and ignore its reply."""
        self.call_then(words, _ignore)

    def send_packed(self, packed: Sequence[bytes]) -> None:
        """Send many commands that the caller has packed, and ignore their replies."""
        if self._protocol is not None:
            self._protocol.send_many(packed, _ignore)

    def subscribe(self, channel: str, callback: Callback, *, pattern: bool = False) -> None:
        """Subscribe to one channel, or to all that match a pattern; requires `on_push`.

        Args:
            channel: the channel or pattern.
            callback: receives b"OK", a `RedisReplyError` or a `ConnectionLost`, possibly before this method returns.
            pattern: whether `channel` is a pattern.
        """
        self.call_then(("PSUBSCRIBE" if pattern else "SUBSCRIBE", channel), callback)

    def eval_then(
        self, script: Script, keys: Sequence[Argument], args: Sequence[Argument], callback: Callback
    ) -> None:
        """Run a script. Its text is sent only if the server has not cached it, in which case it has not run yet."""

        def judge(reply: Reply) -> None:
            if isinstance(reply, RedisReplyError) and reply.words.startswith("NOSCRIPT"):
                self.call_then(("EVAL", script.text, len(keys), *keys, *args), callback)
            else:
                callback(reply)

        self.call_then(("EVALSHA", script.sha, len(keys), *keys, *args), judge)

    def eval(
        self, script: Script, keys: Sequence[Argument], args: Sequence[Argument]
    ) -> asyncio.Future[Reply]:
        """Run a script. Raises the same errors as `call`."""
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.eval_then(script, keys, args, resolver(future))
        return future

    def _not_connected(self) -> StoreDown:
        """The error for a command that was not sent: Redis refuses every connection, or cannot be reached."""
        if self._refusal is not None:
            return RedisReplyRefused(self._refusal)
        return ConnectionLost(f"no connection to Redis ({self.error or 'not opened'})", sent=False)

    async def _keep(self) -> None:
        failures = 0
        while True:
            try:
                # Not wait_for: before Python 3.12 it swallows a cancellation at the end of the awaited work.
                async with asyncio.timeout(_CONNECT_S):
                    protocol = await self._connect()
            except (OSError, UnicodeError, RhoPushError) as error:  # UnicodeError: an invalid host name
                self._failed(error, failures)
                await asyncio.sleep(_BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)])
                failures += 1
                continue
            failures = 0
            since = time.monotonic()
            async with watching_master(self._address, protocol.node, protocol.abort):
                await self._watch(protocol)
            if time.monotonic() - since < _STABLE_S:
                await asyncio.sleep(_BACKOFF_S[2])

    def _failed(self, error: Exception, failures: int) -> None:
        """Record and log a failed connection attempt."""
        self.error = error.message if isinstance(error, RhoPushError) else describe(error)
        self._refusal = error.words if isinstance(error, RedisReplyRefused) else None
        if self._refusal is not None:
            ERROR_REPLY_LOG.log(self._refusal, self._name)
            self._tried.set()
        elif failures in (0, 10, 100):
            _log.warning("redis_unreachable", connection=self._name, error=self.error)

    async def _watch(self, protocol: RedisProtocol) -> None:
        """Wait until the connection is lost; close it when a reply is overdue (a frozen server or a broken route)."""
        while self._protocol is protocol:
            before = protocol.answered
            waited = protocol.waiting > 0
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._reply_s):
                    await self._down.wait()
            if self._protocol is protocol and waited and protocol.waiting and protocol.answered == before:
                _log.warning("redis_unresponsive", connection=self._name, seconds=self._reply_s)
                protocol.abort()
                await self._down.wait()

    async def _connect(self) -> RedisProtocol:
        protocol = await connect(self._address, lambda node: RedisProtocol(node, self._lost, self._on_push))
        try:
            await self._greet(protocol)
            self._establish(protocol)
        except BaseException:
            protocol.abort()
            raise
        return protocol

    def _establish(self, protocol: RedisProtocol) -> None:
        """Use this connection from now on.

        Raises:
            ConnectionLost: it was lost meanwhile.
        """
        if protocol.closing:
            raise protocol.ended()
        self._protocol = protocol
        if self._since_s > float("-inf"):
            self._since_s = time.monotonic()
        self.error = self._refusal = None
        if self._on_up is not None:
            self._on_up()
        self._tried.set()
        self._down.clear()
        self._up.set()

    async def _greet(self, protocol: RedisProtocol) -> None:
        async def ask(words: Sequence[Argument]) -> Reply:
            if protocol.closing:  # connection_lost has already run and would not call this callback
                raise protocol.ended()
            future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
            protocol.call(words, resolver(future))
            return await future

        await handshake(ask, self._address, self._name, resp3=self._on_push is not None)
        protocol.name = self._name
        if self._seconds is not None:
            protocol.round_trips = RoundTrips(self._seconds)

    def _lost(self, protocol: RedisProtocol) -> None:
        if self._protocol is protocol:
            self._protocol = None
            self._since_s = time.monotonic()
            self._up.clear()
            self._down.set()
            self.error = protocol.reason or "connection lost"
            if protocol.reason is not None and time.monotonic() - self._logged_s > _LOG_INTERVAL_S:
                self._logged_s = time.monotonic()
                _log.warning("redis_connection_closed", connection=self._name, error=protocol.reason)
            if self._on_down is not None:
                self._on_down()
