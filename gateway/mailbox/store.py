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

from gateway.clock import SHARED
from gateway.errors import StoreDown
from gateway.mailbox import scripts
from gateway.store import keys
from gateway.store.address import Address
from gateway.store.connection import Link, Reply, ReplyFault, Script, Word
from gateway.store.subscriptions import Channel, Subscriptions

_log = structlog.get_logger("rps")

BATCH: Final = 200
"""Messages or polls in one script call: Redis does nothing else for about 1 ms."""
APPS_MAX: Final = 64
"""Registrations of one instance: a phone has a handful of apps."""
QUEUE_MAX: Final = 100
"""Messages that wait for one instance; the oldest go first."""
_PROVE_S: Final = 5.0
_LOOK_S: Final = 2.0
"""Between two looks for the messages of all waiting polls, where Redis refuses the channel to its user."""

_UNSOUND: Final = ReplyFault("WRONGTYPE a key of this instance is of another type")
Done = Callable[[Reply], None]
"""Gets what a script found for one entry, or a `StoreDown`."""


class Keeping(NamedTuple):
    """How long and how much is kept.

    Attributes:
        life_s: registrations end so long after the device's or the app's last call.
        queue_max: messages of an instance.
        collapse_unnamed: rhoconnect-push's rule: all messages without a collapse id are one.
    """

    life_s: int = keys.RPS_REGISTRATION_S
    queue_max: int = QUEUE_MAX
    collapse_unnamed: bool = False

    @property
    def fresh_s(self) -> int:
        """With so much life left nothing is prolonged: one look instead of six writes for each call."""
        return self.life_s - self.life_s // 30


class Posting(NamedTuple):
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


class Listener(Protocol):
    """Holds the polls that wait in this process."""

    def message(self, instance: bytes, message: bytes) -> None:
        """A message was queued for an instance that had none."""

    def taken(self, instance: bytes) -> None:
        """A newer poll of this instance waits in another process."""

    def gone(self, instance: bytes) -> None:
        """The last registration of this instance ended."""

    def look_again(self) -> None:
        """The channel was not heard for a while."""


class Batch:
    """Joins the entries of one turn of the loop into script calls.

    Args:
        link: where they go.
        script: what runs; its reply is one value for each entry.
        head: the first arguments, made anew for each call.
    """

    def __init__(self, link: Link, script: Script, head: Callable[[], Sequence[Word]]) -> None:
        self._link = link
        self._script = script
        self._head = head
        self._loop = asyncio.get_running_loop()
        self._entries: list[Word] = []
        self._waiting: list[Done] = []

    def add(self, words: Iterable[Word], done: Done) -> None:
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
                done(_UNSOUND if found == scripts.UNSOUND else found)

        self._link.eval_then(self._script, (), (*self._head(), *entries), spread)


class RpsStore:
    """The service's part of Redis.

    Args:
        address: the Redis that rhoconnect-push used, or the gateway's own.
        keeping: how long and how much is kept.
        clock: epoch seconds.
    """

    def __init__(
        self, address: Address, keeping: Keeping | None = None, clock: Callable[[], float] = SHARED.now_s
    ) -> None:
        self.keeping = keeping or Keeping()
        self._clock = clock
        self._name = secrets.token_hex(8)
        self._listener: Listener | None = None
        self._link = Link(address, "rps")
        self._heard = Link(address, "rps-wait", on_push=self._pushed, on_up=self._up)
        self._posts = Batch(self._link, scripts.ENQUEUE, self._post_head)
        self._polls = Batch(self._heard, scripts.POLL, self._poll_head)
        self._prover: asyncio.TimerHandle | None = None
        self._looker: asyncio.TimerHandle | None = None
        lost = f"messages reach RhoConnect Push devices up to {_LOOK_S} s later"
        self._subscriptions = Subscriptions(
            lambda: self._heard, [Channel(keys.RPS_WAKE, lost)], self._look_if_refused
        )

    async def open(self, timeout_s: float = 15.0) -> None:
        """Connect.

        Raises:
            StoreDown: Redis could not be reached in time.
        """
        await self._link.open(timeout_s)
        await self._heard.open(timeout_s)
        self._prove()

    async def close(self) -> None:
        """Disconnect."""
        for timer in (self._prover, self._looker):
            if timer is not None:
                timer.cancel()
        self._subscriptions.close()
        await self._link.close()
        await self._heard.close()

    @property
    def up(self) -> bool:
        """Whether messages can be queued now."""
        return self._link.up

    def listen(self, listener: Listener) -> None:
        """Tell this listener what the channel says."""
        self._listener = listener

    # -- messages and polls
    # ------------------------------------------------------------------------------------------

    def post(self, posting: Posting, done: Done) -> None:
        """Queue a message; `done` gets its id, 0 where the token is not registered, or a `StoreDown`."""
        collapse = posting.collapse
        if collapse is None:
            collapse = "undefined" if self.keeping.collapse_unnamed else ""
        self._posts.add((posting.token, posting.app, posting.data, collapse, posting.name), done)

    def poll(self, instance: bytes, last: int, done: Done) -> None:
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
        words: tuple[Word, ...] = (self.keeping.life_s, APPS_MAX, self._first(), instance, app, token, member)
        words = (*words, registrant, int(made_for_user))
        return _text(await self._link.eval(scripts.REGISTER, (), words))

    async def token_of(self, instance: str, app: str, registrant: str = "") -> str | None:
        """The token of a registered app, with its life prolonged; None: not registered, or by another user.

        Raises as `register`.
        """
        words = (self.keeping.life_s, instance, app, registrant)
        return _text(await self._link.eval(scripts.LOOK_UP, (), words))

    async def end_tokens(self, ended: Sequence[str], dropped: Sequence[str]) -> None:
        """End the registrations of the tokens `ended`, and drop the messages that wait for `dropped`.

        Raises as `register`.
        """
        if ended or dropped:
            words: tuple[Word, ...] = (keys.RPS_WAKE, self._first(), len(ended), *ended, *dropped)
            await self._link.eval(scripts.END_TOKENS, (), words)

    async def unregister(self, instance: str, app: str) -> bool:
        """End an app's registration; False: there is none. Raises as `register`."""
        words = (keys.RPS_WAKE, self._first(), instance, app)
        return bool(await self._link.eval(scripts.UNREGISTER, (), words))

    async def forget(self, instance: str) -> bool:
        """End all registrations of an instance; False: there are none. Raises as `register`."""
        return bool(await self._link.eval(scripts.FORGET, (), (self._first(), instance)))

    async def secret(self, kept: bytes | None = None) -> bytes:
        """The secret of this installation's ids: made by whoever comes first, the same in all processes.

        Looked for first: a full Redis refuses a write, also one that would change nothing. A value that is no secret
        is replaced.

        Args:
            kept: written where Redis has none; None: a new one is.

        Raises:
            StoreDown: Redis did not answer, or took no write.
        """
        found = await self._link.call("GET", keys.RPS_ID_KEY)
        secret = None if found is None else read_id_secret(found)
        if secret is not None:
            return secret
        made = kept or secrets.token_bytes(32)
        condition = () if found is not None else ("NX",)
        written = await self._link.call("SET", keys.RPS_ID_KEY, made.hex(), *condition)
        if written is None:  # another process was first
            return await self.secret(kept)
        if kept is not None:
            _log.warning("id_secret_written_back", why="Redis had lost it")
        return made

    # -- the channel
    # -------------------------------------------------------------------------------------------------

    def _up(self) -> None:
        self._subscriptions.begin()
        if self._listener is not None:
            self._listener.look_again()

    def _pushed(self, push: Reply) -> None:
        if push[0] != b"message" or self._listener is None:
            return
        kind, *entries = push[2].split(b"\n")
        if kind == b"m":
            for at in range(0, len(entries) - 1, 2):
                self._listener.message(entries[at], entries[at + 1])
        elif kind == b"t" and entries[:1] != [self._name.encode()]:
            for instance in entries[1:]:
                self._listener.taken(instance)
        elif kind == b"g" and entries:
            self._listener.gone(entries[0])

    def _prove(self) -> None:
        """Send something on a connection that may be silent for long: a dead one is found by its reply."""
        if self._heard.up:
            self._heard.post("PING")
        self._prover = asyncio.get_running_loop().call_later(_PROVE_S, self._prove)

    def _look_if_refused(self) -> None:
        """As long as the channel is refused, the polls are asked about instead."""
        if self._looker is not None:
            self._looker.cancel()
            self._looker = None
        if self._subscriptions.refused:
            if self._listener is not None:
                self._listener.look_again()
            self._looker = asyncio.get_running_loop().call_later(_LOOK_S, self._look_if_refused)

    def _post_head(self) -> Sequence[Word]:
        keeping = self.keeping
        return (keeping.life_s, keeping.fresh_s, keeping.queue_max, self._first(), keys.RPS_WAKE)

    def _poll_head(self) -> Sequence[Word]:
        return (self.keeping.life_s, self.keeping.fresh_s, keys.RPS_WAKE, self._name)

    def _first(self) -> int:
        return int(self._clock()) - scripts.EPOCH_S


def _text(reply: Reply) -> str | None:
    return None if reply is None else reply.decode()


def read_id_secret(text: bytes) -> bytes | None:
    """A secret of ids as it is kept, 32 hex digits or more; None: this is none."""
    try:
        secret = bytes.fromhex(text.decode())
    except ValueError:
        return None
    return secret if len(secret) >= 16 else None
