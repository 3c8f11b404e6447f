"""Devices (RhoConnect's clients), registered with exactly RhoConnect's keys (contract §2.1, §7).

A registration also clears the device's dead-token mark, since its token may be new. If it changes the owner of a
client, or has a push token that another user's client registered, no data of the earlier user stays on the device
(`client_scripts.REGISTER`).
"""

import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from typing import Any, Final, NamedTuple, Protocol

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from gateway.clock import SHARED_CLOCK
from gateway.errors import NotFound, TooManyDevices
from gateway.registry import client_scripts
from gateway.registry.client_scripts import DEVICE_FIELDS
from gateway.scheduling.scheduler import LIGHT_SLICE, slices
from gateway.settings import LimitSettings
from gateway.store import keys
from gateway.store.connection import Script
from gateway.store.errors import RedisCommands, redis_errors
from protocols.errors import InvalidField, wrong_type

SHOWN_FIELDS: Final = (
    "rho__id",
    "device_type",
    "device_push_type",
    "device_pin",
    "device_port",
    "device_app_id",
    "device_app_version",
    "phone_id",
    "user_id",
    "last_sync",
    "app_id",
)
"""A client's fields in the order in which RhoConnect lists them (contract §2)."""

FIELD_CHARACTERS: Final = 4_096  # FCM tokens have some 160 characters today and no documented limit
# RhoConnect's documents are stored under `client:ID:...`: an id with a colon could name one of them.
CLIENT_ID: Final = re.compile(r"[0-9A-Za-z_.-]{1,128}")
_LIMIT: Final = LimitSettings().devices_per_user


class TokenMailbox(Protocol):
    """RhoConnect Push registrations that are stored in another Redis than the users."""

    async def end_tokens(self, ended: Sequence[str], dropped: Sequence[str]) -> None:
        """End the registrations of `ended`, and drop the messages that wait for `dropped`. Raises StoreDown."""


class _TokenChanges(NamedTuple):
    """Effects of a registration on RhoConnect Push registrations: tokens, as `client_scripts.REGISTER` returns
    them."""

    ended: tuple[str, ...]
    dropped: tuple[str, ...]


class Clients:
    """The devices of all users.

    Args:
        redis: a client of RhoConnect's Redis or the embedded one (replies as bytes).
        now: epoch seconds.
        most: most devices of a user (`limits.devices_per_user`), read at each registration.
        mailbox: RhoConnect Push registrations outside of this Redis; None: they are in it, or there are none.
    """

    def __init__(
        self,
        redis: Redis,
        now: Callable[[], float] = SHARED_CLOCK.now_s,
        *,
        most: Callable[[], int] = lambda: _LIMIT,
        mailbox: TokenMailbox | None = None,
    ) -> None:
        self._redis = redis
        self._ask = RedisCommands(redis)
        self._now = now
        self._most = most
        self._mailbox = mailbox
        # redis-py's method has no type annotations
        self._command: Callable[..., Awaitable[Any]] = redis.execute_command

    async def create(self, login: str, parameters: Mapping[str, Any]) -> str:
        """Create a client of a user and return its id: 32 hex digits.

        Raises:
            InvalidField: a device field is not a text or whole number, or is too long.
            TooManyDevices: the user has `limits.devices_per_user` already.
            StoreDown: Redis does not answer.
        """
        client_id = secrets.token_hex(16)
        await self._register(login, client_id, parameters, is_new=True)
        return client_id

    async def register(self, login: str, client_id: str, parameters: Mapping[str, Any]) -> None:
        """Store the fields that a device sends about itself. An unknown id is created, another user's client moves
        here.

        For a client that moves, the device's fields that are not sent are deleted, as are its dead-token mark and
        the RhoConnect Push registration of its old token, with the waiting messages. A token that another user's
        client registered is taken from that client.

        Raises:
            InvalidField: a device field is not a text or whole number, or is too long; or the id has other characters
                than letters, digits, `_`, `.` and `-`.
            TooManyDevices: the user already has `limits.devices_per_user` devices.
            StoreDown: Redis does not answer.
        """
        await self._register(login, client_id, parameters, is_new=False)

    async def _register(
        self, login: str, client_id: str, parameters: Mapping[str, Any], *, is_new: bool
    ) -> None:
        _check_id(client_id)
        fields = device_fields(parameters)
        fields |= {"rho__id": client_id, "user_id": login, "app_id": "application"}
        now_ms, may_exist = str(int(self._now() * 1000)), "0" if is_new else "1"
        words = [login, client_id, now_ms, str(self._most()), keys.MAILBOX_WAKE, may_exist]
        for name, text in fields.items():
            words += (name, text)
        if self._mailbox is None:
            await self._script("write", words)
            return
        # The other Redis first: a registration that fails half-way leaves a device without pushes, and never with
        # another user's. Changes in between are completed afterwards.
        planned = await self._script("look", words)
        await self._mailbox.end_tokens(*planned)
        done = await self._script("write", words)
        if done != planned:
            await self._mailbox.end_tokens(*done)

    async def _script(self, kind: str, words: Sequence[str]) -> _TokenChanges:
        with redis_errors():
            outcome, ended, dropped = await self._eval(client_scripts.REGISTER, kind, *words)
        if outcome == client_scripts.FULL:
            raise TooManyDevices(
                f"this user has {self._most()} devices, the most that limits.devices_per_user allows: "
                "delete one first",
                field="client_id",
            )
        return _TokenChanges(tuple(map(_text, ended)), tuple(map(_text, dropped)))

    async def _eval(self, script: Script, *words: str) -> Any:
        try:
            return await self._command("EVALSHA", script.sha, "0", *words)
        except NoScriptError:
            return await self._command("EVAL", script.text, "0", *words)

    async def of_user(self, login: str) -> list[str]:
        """The client ids of a user."""
        found = await self._ask.texts("SMEMBERS", keys.user(login, "clients"))
        return [client_id for client_id in found if client_id is not None]

    async def apps_of(self, client_ids: Sequence[str]) -> list[str | None]:
        """The app (`device_app_id`) of each of these clients; None: no app, or no such client. Raises StoreDown."""
        if not client_ids:
            return []
        return await self._ask.texts("MGET", *(keys.client(one, "device_app_id") for one in client_ids))

    async def show(self, client_id: str) -> dict[str, str | None]:
        """A client's fields, in RhoConnect's order; None: never set.

        Raises:
            NotFound: there is no such client.
        """
        _check_id(client_id)
        found = await self._ask.texts("MGET", *(keys.client(client_id, name) for name in SHOWN_FIELDS))
        if found[0] is None:
            raise NotFound("there is no such client", field="client_id")
        return dict(zip(SHOWN_FIELDS, found, strict=True))

    async def delete(self, login: str, client_id: str) -> None:
        """Delete a client with the RhoConnect Push messages that wait for it, and remove it from this user's set
        (contract §2).

        Raises:
            NotFound: there is no such client.
            StoreDown: Redis did not answer; the deletion may be repeated unless it is done.
        """
        await self.show(client_id)
        await drop_waiting(self._mailbox, self._ask, [client_id])
        with redis_errors():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.srem(keys.user(login, "clients"), client_id)
                delete_client(pipe, client_id)
                pipe.decrby(keys.count("client"), 1)
                await execute_counted(pipe, {2})


async def execute_counted(pipe: Any, counters: Set[int]) -> list[Any]:
    """Execute a transaction whose commands at these positions change a counter, and return its replies.

    A damaged counter, which nothing depends on, must not make a change fail that Redis has carried out.

    Raises:
        RedisError: Redis does not answer, or refuses another command.
    """
    replies: list[Any] = await pipe.execute(raise_on_error=False)
    for position, reply in enumerate(replies):
        if isinstance(reply, Exception) and position not in counters:
            raise reply
    return replies


async def drop_waiting(mailbox: TokenMailbox | None, ask: RedisCommands, client_ids: Sequence[str]) -> None:
    """Drop the RhoConnect Push messages in another Redis that wait for clients, before the clients are deleted: a
    deletion that fails half-way can be repeated.

    Args:
        mailbox: the registrations in that Redis; None: `delete_client` drops the messages.
        ask: commands to the Redis of the clients.
        client_ids: the clients.

    Raises:
        StoreDown: one of the two did not answer.
    """
    if mailbox is None or not client_ids:
        return
    for part in slices(client_ids, LIGHT_SLICE):
        pins = await ask.texts("MGET", *(keys.client(client_id, "device_pin") for client_id in part))
        if tokens := [pin for pin in pins if pin]:
            await mailbox.end_tokens((), tokens)


def delete_client(pipe: Any, client_id: str, owner: str = "") -> None:
    """Add the deletion of a client's fields, marks and waiting RhoConnect Push messages to a transaction.

    Its reply is the client's push token, or b"".

    Args:
        pipe: the transaction.
        client_id: the client.
        owner: a client that belongs to another user than this one is left unchanged; "": it may belong to any.
    """
    pipe.eval(client_scripts.DELETE.text, 0, client_id, owner, *SHOWN_FIELDS)


def device_fields(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Take the device's fields out of a request's parameters.

    Raises:
        InvalidField: a value is not a text or whole number, or longer than `FIELD_CHARACTERS`.
    """
    fields: dict[str, str] = {}
    for name in DEVICE_FIELDS:
        value = parameters.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise wrong_type(name, "a text or a whole number", value)
        text = str(value)
        if len(text) > FIELD_CHARACTERS:
            raise InvalidField(f"{name} may have at most {FIELD_CHARACTERS} characters", field=name)
        fields[name] = text
    return fields


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _check_id(client_id: str) -> None:
    if CLIENT_ID.fullmatch(client_id) is None:
        raise InvalidField(
            "a client id must have 1 to 128 letters, digits, underscores, dots and hyphens", field="client_id"
        )
