"""Registrations and message queues of the RhoConnect Push service, on rhoconnect-push's own keys.

Messages and polls are batched: all that arrive during one event loop iteration become one script call. Polls and the
channel share one RESP3 connection, which prevents lost wake-ups. Redis writes published messages and the replies to
polls to that connection in the order of execution. So a message that was queued before a poll read the queue is in
the poll's reply, and a message that was queued later is published after the reply. Therefore, while a poll has no
reply, publications about its instance contain nothing that the reply does not contain.
"""

import asyncio
import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple, Protocol

import orjson
import structlog

from gateway.clock import SHARED_CLOCK
from gateway.errors import StoreDown, StoreRefused
from gateway.mailbox import scripts
from gateway.store import keys
from gateway.store.address import RedisAddress
from gateway.store.connection import Argument, RedisConnection, RedisReplyError, Reply, Script
from gateway.store.subscriptions import Channel, Subscriptions

_log = structlog.get_logger("rhoconnect_push")

BATCH: Final = 200
"""Messages or polls in one script call, which occupies Redis for about 1 ms."""
APPS_MAX: Final = 64
"""Most registrations of one instance: a device has a handful of apps."""
QUEUE_MAX: Final = 100
"""Most messages that wait for one instance; beyond it, the oldest are dropped."""
_SCANNED_TOGETHER: Final = 1_000
"""Keys whose names Redis examines in one step, which takes a fraction of a millisecond."""
_NAMES_TOGETHER: Final = 1_000
_PROBE_S: Final = 5.0
_RECHECK_S: Final = 2.0
"""Interval between reads of the messages of all waiting polls, if Redis refuses the channel to its user."""

_CORRUPT: Final = RedisReplyError("WRONGTYPE a key of this instance is of another type")
OnReply = Callable[[Reply], None]
"""Receives a script's reply for one entry, or a `StoreDown`."""


class MailboxLimits(NamedTuple):
    """Lifetimes and sizes of mailboxes.

    Attributes:
        registration_ttl_s: lifetime of a registration after the last call of the device or the app.
        queue_max: most messages of an instance.
        collapse_unnamed: rhoconnect-push's rule: all messages without a collapse id share one.
    """

    registration_ttl_s: int = keys.MAILBOX_REGISTRATION_S
    queue_max: int = QUEUE_MAX
    collapse_unnamed: bool = False

    @property
    def refresh_after_s(self) -> int:
        """Remaining lifetime above which no key is renewed: one read instead of six writes for each call."""
        return self.registration_ttl_s - self.registration_ttl_s // 30


class MailboxMessage(NamedTuple):
    """A message for one device.

    Attributes:
        token: the token of its registration.
        data: a JSON object in compact form.
        collapse: collapse id; None: none.
        app: the app's name; "": the registered name.
        name: the same at each attempt; a message of this name is queued once. "": no name.
    """

    token: str
    data: bytes
    collapse: str | None = None
    app: str = ""
    name: str = ""


class MailboxListener(Protocol):
    """Receiver of the channel's messages; it holds the polls that wait in this process."""

    def message(self, instance: bytes, message: bytes) -> None:
        """A message was queued for an instance that had none."""

    def superseded(self, instance: bytes) -> None:
        """A newer poll of this instance waits in another process."""

    def unregistered(self, instance: bytes) -> None:
        """The last registration of this instance ended."""

    def recheck(self) -> None:
        """Called after an interruption of the channel."""


class ScriptBatch:
    """Joins the entries of one event loop iteration into script calls.

    Args:
        connection: the connection for the calls.
        script: the script; its reply has one value for each entry.
        head: makes the first arguments of each call.
    """

    def __init__(
        self, connection: RedisConnection, script: Script, head: Callable[[], Sequence[Argument]]
    ) -> None:
        self._connection = connection
        self._script = script
        self._head = head
        self._loop = asyncio.get_running_loop()
        self._entries: list[Argument] = []
        self._waiting: list[OnReply] = []

    def add(self, words: Iterable[Argument], done: OnReply) -> None:
        """Add one entry."""
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._entries.extend(words)
        self._waiting.append(done)
        if len(self._waiting) >= BATCH:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        entries, waiting = self._entries, self._waiting
        self._entries, self._waiting = [], []

        def spread(reply: Reply) -> None:
            if isinstance(reply, StoreDown):
                reply = [reply] * len(waiting)
            for done, found in zip(waiting, reply, strict=True):
                done(_CORRUPT if found == scripts.CORRUPT else found)

        self._connection.eval_then(self._script, (), (*self._head(), *entries), spread)


class MailboxStore:
    """The service's data in Redis.

    Args:
        address: the Redis that rhoconnect-push used, or the gateway's own.
        limits: lifetimes and sizes.
        clock: epoch seconds.
    """

    def __init__(
        self,
        address: RedisAddress,
        limits: MailboxLimits | None = None,
        clock: Callable[[], float] = SHARED_CLOCK.now_s,
    ) -> None:
        self.limits = limits or MailboxLimits()
        self._clock = clock
        self._name = secrets.token_hex(8)
        self._listener: MailboxListener | None = None
        self._connection = RedisConnection(address, "rps")
        self._wake_connection = RedisConnection(address, "rps-wait", on_push=self._pushed, on_up=self._up)
        self._posts = ScriptBatch(self._connection, scripts.ENQUEUE, self._post_head)
        self._polls = ScriptBatch(self._wake_connection, scripts.POLL, self._poll_head)
        self._probe_timer: asyncio.TimerHandle | None = None
        self._recheck_timer: asyncio.TimerHandle | None = None
        lost = f"messages reach RhoConnect Push devices up to {_RECHECK_S} s later"
        self._subscriptions = Subscriptions(
            lambda: self._wake_connection, [Channel(keys.MAILBOX_WAKE, lost)], self._recheck_if_refused
        )

    async def open(self, timeout_s: float = 15.0, *, required: bool = True) -> None:
        """Connect.

        Args:
            timeout_s: longest wait for each connection.
            required: whether Redis must be reachable. Otherwise the store connects as soon as it is.

        Raises:
            StoreDown: Redis is required, and could not be reached in time.
            StoreRefused: Redis refuses the connection.
        """
        for connection in (self._connection, self._wake_connection):
            try:
                await connection.open(timeout_s)
            except StoreRefused:
                raise
            except StoreDown as error:
                if required:
                    raise
                _log.warning("mailbox_unreachable", error=error.message)
                connection.start()
        self._probe()

    async def close(self) -> None:
        """Disconnect."""
        for timer in (self._probe_timer, self._recheck_timer):
            if timer is not None:
                timer.cancel()
        self._subscriptions.close()
        await self._connection.close()
        await self._wake_connection.close()

    @property
    def up(self) -> bool:
        """Whether messages can be queued now."""
        return self._connection.up

    def set_listener(self, listener: MailboxListener) -> None:
        """Set the receiver of the channel's messages."""
        self._listener = listener

    # -- messages and polls ----------------------------------------------------------------------------------

    def post(self, message: MailboxMessage, done: OnReply) -> None:
        """Queue a message; `done` receives its id, 0 if the token is not registered, or a `StoreDown`."""
        collapse = message.collapse
        if collapse is None:
            collapse = "undefined" if self.limits.collapse_unnamed else ""
        self._posts.add((message.token, message.app, message.data, collapse, message.name), done)

    def poll(self, instance: bytes, last: int, done: OnReply) -> None:
        """Acknowledge up to `last` and read.

        `done` receives 0 (not registered), b"" (no message), a message, or a `StoreDown`.
        """
        self._polls.add((instance, last), done)

    async def withdraw(self, names: Sequence[str]) -> int:
        """Remove all waiting messages with these names (`MailboxMessage.name`); returns their number.

        The names of all mailboxes are read in small steps. Raises StoreDown.
        """
        withdrawn, cursor = 0, b"0"
        prefix = keys.MAILBOX_COLLAPSE.encode()
        while True:
            words: tuple[Argument, ...] = ("SCAN", cursor, "MATCH", prefix + b"*", "COUNT", _SCANNED_TOGETHER)
            cursor, found = await self._connection.call(*words)
            for first in range(0, len(found), BATCH):
                instances = [key.removeprefix(prefix) for key in found[first : first + BATCH]]
                for start in range(0, len(names), _NAMES_TOGETHER):
                    part = names[start : start + _NAMES_TOGETHER]
                    withdrawn += int(
                        await self._connection.eval(scripts.WITHDRAW, (), (len(part), *part, *instances))
                    )
            if cursor == b"0":
                return withdrawn

    # -- registrations ---------------------------------------------------------------------------------------

    async def register(
        self, instance: str, app: str, token: str, registrant: str = "", *, made_for_user: bool = True
    ) -> str | None:
        """Register an app and return its valid token; an old one stays valid. None: the instance has too many apps.

        An app that another user registered gets the new token, and the messages for the old one are dropped.

        Args:
            registrant: the registering user, as `ids.Ids.registrant` names it; "": unknown, and an old token stays
                valid for any registrant.
            made_for_user: whether the instance was made for this user. It decides if the old token does not contain
                its registrant.

        Raises:
            StoreDown: Redis did not answer.
        """
        member = orjson.dumps({"token": token, "appname": app})
        words: tuple[Argument, ...] = (
            self.limits.registration_ttl_s,
            APPS_MAX,
            self._first(),
            instance,
            app,
            token,
            member,
        )
        words = (*words, registrant, int(made_for_user))
        return _text(await self._connection.eval(scripts.REGISTER, (), words))

    async def token_of(self, instance: str, app: str, registrant: str = "") -> str | None:
        """Read the token of a registered app and extend its lifetime; None: not registered, or by another user.

        Raises the same errors as `register`.
        """
        words = (self.limits.registration_ttl_s, instance, app, registrant)
        return _text(await self._connection.eval(scripts.LOOK_UP, (), words))

    async def end_tokens(self, ended: Sequence[str], dropped: Sequence[str]) -> None:
        """End the registrations of the tokens `ended`, and drop the messages that wait for `dropped`.

        Raises the same errors as `register`.
        """
        if ended or dropped:
            words: tuple[Argument, ...] = (keys.MAILBOX_WAKE, self._first(), len(ended), *ended, *dropped)
            await self._connection.eval(scripts.END_TOKENS, (), words)

    async def unregister(self, instance: str, app: str) -> bool:
        """End an app's registration; False: there is none. Raises the same errors as `register`."""
        words = (keys.MAILBOX_WAKE, self._first(), instance, app)
        return bool(await self._connection.eval(scripts.UNREGISTER, (), words))

    async def forget(self, instance: str) -> bool:
        """End all registrations of an instance; False: there are none. Raises the same errors as `register`."""
        return bool(await self._connection.eval(scripts.END_INSTANCE, (), (self._first(), instance)))

    async def secret(self, kept: bytes | None = None) -> bytes:
        """The secret of this installation's ids: the first process stores it, and all processes use the same one.

        It is read first, since a full Redis refuses even a write that changes nothing. A stored value that is not a
        secret is replaced.

        Args:
            kept: the secret to store if Redis has none; None: a new one.

        Raises:
            StoreDown: Redis did not answer, or accepted no write.
        """
        found = await self._connection.call("GET", keys.MAILBOX_ID_KEY)
        secret = None if found is None else read_id_secret(found)
        if secret is not None:
            return secret
        made = kept or secrets.token_bytes(32)
        condition = () if found is not None else ("NX",)
        written = await self._connection.call("SET", keys.MAILBOX_ID_KEY, made.hex(), *condition)
        if written is None:  # another process stored it first
            return await self.secret(kept)
        if kept is not None:
            _log.warning("id_secret_restored", why="Redis had lost it")
        return made

    # -- the channel -----------------------------------------------------------------------------------------

    def _up(self) -> None:
        self._subscriptions.begin()
        if self._listener is not None:
            self._listener.recheck()

    def _pushed(self, push: Reply) -> None:
        if push[0] != b"message" or self._listener is None:
            return
        kind, *entries = push[2].split(b"\n")
        if kind == b"m":
            for at in range(0, len(entries) - 1, 2):
                self._listener.message(entries[at], entries[at + 1])
        elif kind == b"t" and entries[:1] != [self._name.encode()]:
            for instance in entries[1:]:
                self._listener.superseded(instance)
        elif kind == b"g" and entries:
            self._listener.unregistered(entries[0])

    def _probe(self) -> None:
        """Send a command on a connection that may be idle for long, so that a missing reply reveals a broken
        connection."""
        if self._wake_connection.up:
            self._wake_connection.send("PING")
        self._probe_timer = asyncio.get_running_loop().call_later(_PROBE_S, self._probe)

    def _recheck_if_refused(self) -> None:
        """Recheck the polls periodically while the channel is refused."""
        if self._recheck_timer is not None:
            self._recheck_timer.cancel()
            self._recheck_timer = None
        if self._subscriptions.refused:
            if self._listener is not None:
                self._listener.recheck()
            self._recheck_timer = asyncio.get_running_loop().call_later(_RECHECK_S, self._recheck_if_refused)

    def _post_head(self) -> Sequence[Argument]:
        limits = self.limits
        return (
            limits.registration_ttl_s,
            limits.refresh_after_s,
            limits.queue_max,
            self._first(),
            keys.MAILBOX_WAKE,
        )

    def _poll_head(self) -> Sequence[Argument]:
        return (self.limits.registration_ttl_s, self.limits.refresh_after_s, keys.MAILBOX_WAKE, self._name)

    def _first(self) -> int:
        return int(self._clock()) - scripts.COUNTER_EPOCH_S


def _text(reply: Reply) -> str | None:
    return None if reply is None else reply.decode("utf-8", "replace")


def read_id_secret(text: bytes) -> bytes | None:
    """Parse a stored secret of ids, 32 hex digits or more; None: the text is not a secret."""
    try:
        secret = bytes.fromhex(text.decode())
    except ValueError:
        return None
    return secret if len(secret) >= 16 else None
