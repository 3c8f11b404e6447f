"""What the RhoConnect Push Service keeps: registrations and queues, on rhoconnect-push's own keys.

Messages and polls go out in batches: everything that came during one turn of the loop is one script call.
Polls and the channel share one RESP3 connection, and that is what makes waiting safe. Redis puts what it
publishes, and the reply to a poll, on that connection in the order in which it did them; so a message queued
before a poll looked is in the poll's reply, and one queued after it comes behind the reply. While a poll has
no reply, what the channel says about its instance is therefore nothing new.
"""

import asyncio
import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple, Protocol

import orjson
import structlog

from gateway.clock import SHARED_CLOCK
from gateway.errors import StoreDown
from gateway.mailbox import scripts
from gateway.store import keys
from gateway.store.address import RedisAddress
from gateway.store.connection import Argument, RedisConnection, RedisReplyError, Reply, Script
from gateway.store.subscriptions import Channel, Subscriptions

_log = structlog.get_logger("rhoconnect_push")

BATCH: Final = 200
"""Messages or polls in one script call: Redis does nothing else for about 1 ms."""
APPS_MAX: Final = 64
"""Registrations of one instance: a phone has a handful of apps."""
QUEUE_MAX: Final = 100
"""Messages that wait for one instance; the oldest go first."""
_PROBE_S: Final = 5.0
_RECHECK_S: Final = 2.0
"""Between two looks for the messages of all waiting polls, where Redis refuses the channel to its user."""

_CORRUPT: Final = RedisReplyError("WRONGTYPE a key of this instance is of another type")
OnReply = Callable[[Reply], None]
"""Gets what a script found for one entry, or a `StoreDown`."""


class MailboxLimits(NamedTuple):
    """How long and how much is kept.

    Attributes:
        registration_ttl_s: registrations end so long after the device's or the app's last call.
        queue_max: messages of an instance.
        collapse_unnamed: rhoconnect-push's rule: all messages without a collapse id are one.
    """

    registration_ttl_s: int = keys.MAILBOX_REGISTRATION_S
    queue_max: int = QUEUE_MAX
    collapse_unnamed: bool = False

    @property
    def refresh_after_s(self) -> int:
        """With so much life left nothing is prolonged: one look instead of six writes for each call."""
        return self.registration_ttl_s - self.registration_ttl_s // 30


class MailboxMessage(NamedTuple):
    """A message for one device.

    Attributes:
        token: whose it is.
        data: compact JSON, an object.
        collapse: collapse id; None: none.
        app: the app's name; "": as registered.
        name: the same at each try; a message of this name is queued once. "": no name.
    """

    token: str
    data: bytes
    collapse: str | None = None
    app: str = ""
    name: str = ""


class MailboxListener(Protocol):
    """Holds the polls that wait in this process."""

    def message(self, instance: bytes, message: bytes) -> None:
        """A message was queued for an instance that had none."""

    def superseded(self, instance: bytes) -> None:
        """A newer poll of this instance waits in another process."""

    def unregistered(self, instance: bytes) -> None:
        """The last registration of this instance ended."""

    def recheck(self) -> None:
        """The channel was not heard for a while."""


class ScriptBatch:
    """Joins the entries of one turn of the loop into script calls.

    Args:
        link: where they go.
        script: what runs; its reply is one value for each entry.
        head: the first arguments, made anew for each call.
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
    """The service's part of Redis.

    Args:
        address: the Redis that rhoconnect-push used, or the gateway's own.
        keeping: how long and how much is kept.
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
        self._probe_task: asyncio.TimerHandle | None = None
        self._recheck_task: asyncio.TimerHandle | None = None
        lost = f"messages reach RhoConnect Push devices up to {_RECHECK_S} s later"
        self._subscriptions = Subscriptions(
            lambda: self._wake_connection, [Channel(keys.MAILBOX_WAKE, lost)], self._recheck_if_refused
        )

    async def open(self, timeout_s: float = 15.0) -> None:
        """Connect.

        Raises:
            StoreDown: Redis could not be reached in time.
        """
        await self._connection.open(timeout_s)
        await self._wake_connection.open(timeout_s)
        self._probe()

    async def close(self) -> None:
        """Disconnect."""
        for timer in (self._probe_task, self._recheck_task):
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
        """Tell this listener what the channel says."""
        self._listener = listener

    # -- messages and polls
    # ------------------------------------------------------------------------------------------

    def post(self, message: MailboxMessage, done: OnReply) -> None:
        """Queue a message; `done` gets its id, 0 where the token is not registered, or a `StoreDown`."""
        collapse = message.collapse
        if collapse is None:
            collapse = "undefined" if self.limits.collapse_unnamed else ""
        self._posts.add((message.token, message.app, message.data, collapse, message.name), done)

    def poll(self, instance: bytes, last: int, done: OnReply) -> None:
        """Acknowledge up to `last` and look; `done` gets 0 (not registered), b"" (nothing), a message, or a
        `StoreDown`."""
        self._polls.add((instance, last), done)

    # -- registrations
    # -----------------------------------------------------------------------------------------------

    async def register(
        self, instance: str, app: str, token: str, registrant: str = "", *, made_for_user: bool = True
    ) -> str | None:
        """Register an app; the token that holds (an old one stays). None: the instance has too many.

        An app that another user registered gets the new token, and what waits for the old one is dropped.

        Args:
            registrant: who registers, as `ids.Ids.registrant` names a user; "": not said, and then an old token stays
                whoever registered it.
            made_for_user: whether the instance was made for this user. It decides where the old token does not say
                who registered it.

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
        """The token of a registered app, with its life prolonged; None: not registered, or by another user.

        Raises as `register`.
        """
        words = (self.limits.registration_ttl_s, instance, app, registrant)
        return _text(await self._connection.eval(scripts.LOOK_UP, (), words))

    async def end_tokens(self, ended: Sequence[str], dropped: Sequence[str]) -> None:
        """End the registrations of the tokens `ended`, and drop the messages that wait for `dropped`.

        Raises as `register`.
        """
        if ended or dropped:
            words: tuple[Argument, ...] = (keys.MAILBOX_WAKE, self._first(), len(ended), *ended, *dropped)
            await self._connection.eval(scripts.END_TOKENS, (), words)

    async def unregister(self, instance: str, app: str) -> bool:
        """End an app's registration; False: there is none. Raises as `register`."""
        words = (keys.MAILBOX_WAKE, self._first(), instance, app)
        return bool(await self._connection.eval(scripts.UNREGISTER, (), words))

    async def forget(self, instance: str) -> bool:
        """End all registrations of an instance; False: there are none. Raises as `register`."""
        return bool(await self._connection.eval(scripts.END_INSTANCE, (), (self._first(), instance)))

    async def secret(self, kept: bytes | None = None) -> bytes:
        """The secret of this installation's ids: made by whoever comes first, the same in all processes.

        Looked for first: a full Redis refuses a write, also one that would change nothing. A value that is no secret
        is replaced.

        Args:
            kept: written where Redis has none; None: a new one is.

        Raises:
            StoreDown: Redis did not answer, or took no write.
        """
        found = await self._connection.call("GET", keys.MAILBOX_ID_KEY)
        secret = None if found is None else read_id_secret(found)
        if secret is not None:
            return secret
        made = kept or secrets.token_bytes(32)
        condition = () if found is not None else ("NX",)
        written = await self._connection.call("SET", keys.MAILBOX_ID_KEY, made.hex(), *condition)
        if written is None:  # another process was first
            return await self.secret(kept)
        if kept is not None:
            _log.warning("id_secret_restored", why="Redis had lost it")
        return made

    # -- the channel
    # -------------------------------------------------------------------------------------------------

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
        """Send something on a connection that may be silent for long: a dead one is found by its reply."""
        if self._wake_connection.up:
            self._wake_connection.send("PING")
        self._probe_task = asyncio.get_running_loop().call_later(_PROBE_S, self._probe)

    def _recheck_if_refused(self) -> None:
        """As long as the channel is refused, the polls are asked about instead."""
        if self._recheck_task is not None:
            self._recheck_task.cancel()
            self._recheck_task = None
        if self._subscriptions.refused:
            if self._listener is not None:
                self._listener.recheck()
            self._recheck_task = asyncio.get_running_loop().call_later(_RECHECK_S, self._recheck_if_refused)

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
        return int(self._clock()) - scripts.PROLONG_EPOCH_S


def _text(reply: Reply) -> str | None:
    return None if reply is None else reply.decode()


def read_id_secret(text: bytes) -> bytes | None:
    """A secret of ids as it is kept, 32 hex digits or more; None: this is none."""
    try:
        secret = bytes.fromhex(text.decode())
    except ValueError:
        return None
    return secret if len(secret) >= 16 else None
