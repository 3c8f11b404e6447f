"""Devices, registered as RhoConnect registers them: exactly its keys (contract §2.1, §7).

A registration also clears what we hold against the device: its token may be new.
"""

import contextlib
import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from redis.asyncio import Redis
from redis.exceptions import WatchError

from gateway.clock import SHARED
from gateway.errors import NotFound, StoreDown
from gateway.store import keys
from gateway.store.asking import Asker, asked_of_redis
from protocols.errors import InvalidField

DEVICE_FIELDS: Final = (
    "device_type",
    "device_push_type",
    "device_pin",
    "device_port",
    "phone_id",
    "device_app_id",
    "device_app_version",
)
"""What a device says about itself. Present and not null: written, an empty text too (that is a logout)."""

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
CLIENT_FIELDS: Final = SHOWN_FIELDS

FIELD_CHARACTERS: Final = 4_096  # FCM tokens have some 160 characters today and no documented limit
# RhoConnect's documents live under `client:ID:...`: an id with a colon could name one of them.
_CLIENT_ID: Final = re.compile(r"[0-9A-Za-z_.-]{1,128}")
_TRIES: Final = 5


class Clients:
    """The devices of all users.

    Args:
        redis: a client of RhoConnect's Redis or the embedded one (replies as bytes).
        now: epoch seconds.
    """

    def __init__(self, redis: Redis, now: Callable[[], float] = SHARED.now_s) -> None:
        self._redis = redis
        self._ask = Asker(redis)
        self._now = now

    async def create(self, login: str, parameters: Mapping[str, Any]) -> str:
        """Create a client of a user and return its id: 32 hex digits.

        Raises:
            InvalidField: a device field is no text or number, or too long.
            StoreDown: Redis does not answer.
        """
        client_id = secrets.token_hex(16)
        await self.register(login, client_id, parameters)
        return client_id

    async def register(self, login: str, client_id: str, parameters: Mapping[str, Any]) -> None:
        """Write what a device says about itself. An unknown id is created, another user's client moves here.

        Raises:
            InvalidField: a device field is no text or number, or too long; an id with other characters than
                letters, digits, `_`, `.` and `-`.
            StoreDown: Redis does not answer, or others registered this client all the time.
        """
        _check_id(client_id)
        fields = device_fields(parameters)
        fields |= {"rho__id": client_id, "user_id": login, "app_id": "application"}
        owner_key = keys.client(client_id, "user_id")
        with asked_of_redis():
            async with self._redis.pipeline(transaction=True) as pipe:
                for _ in range(_TRIES):
                    await pipe.watch(owner_key)
                    owner = cast("bytes | None", await pipe.execute_command("GET", owner_key))
                    with contextlib.suppress(WatchError):  # another registration came between: look again
                        await self._write(pipe, login, client_id, fields, owner)
                        return
        raise StoreDown("this client is registered by several callers at once")

    async def _write(
        self, pipe: Any, login: str, client_id: str, fields: Mapping[str, str], owner: bytes | None
    ) -> None:
        pipe.multi()
        pipe.mset({keys.client(client_id, name): text for name, text in fields.items()})
        if owner is None:
            pipe.incr(keys.count("client"))
        elif owner.decode("utf-8", "replace") != login:
            pipe.srem(keys.user(owner.decode("utf-8", "replace"), "clients"), client_id)
        pipe.sadd(keys.user(login, "clients"), client_id)
        pipe.delete(keys.dead(client_id))
        pipe.set(keys.registered(client_id), int(self._now() * 1000), ex=keys.DEAD_S)
        await pipe.execute()

    async def of_user(self, login: str) -> list[str]:
        """The client ids of a user."""
        found = await self._ask.texts("SMEMBERS", keys.user(login, "clients"))
        return [client_id for client_id in found if client_id is not None]

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
        """Delete a client, and take it out of this user's set (contract §2).

        Raises:
            NotFound: there is no such client.
        """
        await self.show(client_id)
        with asked_of_redis():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.srem(keys.user(login, "clients"), client_id)
                pipe.delete(*(keys.client(client_id, name) for name in CLIENT_FIELDS))
                pipe.delete(keys.dead(client_id), keys.registered(client_id))
                pipe.decrby(keys.count("client"), 1)
                await pipe.execute()


def device_fields(parameters: Mapping[str, Any]) -> dict[str, str]:
    """Take the device's fields out of a request's parameters.

    Raises:
        InvalidField: a value is no text or number, or longer than `FIELD_CHARACTERS`.
    """
    fields: dict[str, str] = {}
    for name in DEVICE_FIELDS:
        value = parameters.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise InvalidField(f"{name} must be a text or a number", field=name)
        text = str(value)
        if len(text) > FIELD_CHARACTERS:
            raise InvalidField(f"{name} may have at most {FIELD_CHARACTERS} characters", field=name)
        fields[name] = text
    return fields


def _check_id(client_id: str) -> None:
    if _CLIENT_ID.fullmatch(client_id) is None:
        raise InvalidField(
            "a client id has 1 to 128 letters, digits, underscores, dots and hyphens", field="client_id"
        )
