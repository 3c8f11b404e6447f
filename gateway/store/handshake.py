"""The first commands on a new connection of `RedisConnection`."""

import contextlib
from collections.abc import Awaitable, Callable

from gateway.store import keys
from gateway.store.address import RedisAddress
from gateway.store.authentication import (
    needs_none,
    password_alone,
    warn_no_password,
    warn_user_ignored,
    wrong_login,
)
from gateway.store.command_encoding import Argument
from gateway.store.replies import RedisReplyError, RedisReplyRefused

Ask = Callable[[tuple[Argument, ...]], Awaitable[object]]
"""Sends one command. Raises `RedisReplyError` and `ConnectionLost`."""


async def handshake(ask: Ask, address: RedisAddress, name: str, *, resp3: bool) -> None:
    """Authenticate, choose protocol and database, and name the connection if Redis allows it.

    Raises:
        RedisReplyError: Redis refuses one of the commands.
        ConnectionLost: the connection ended.
    """
    await _authenticate(ask, address)
    if resp3:
        await ask(("HELLO", "3"))
    if address.db:
        await ask(("SELECT", address.db))
    with contextlib.suppress(RedisReplyRefused):  # the name only helps operators
        await ask(("CLIENT", "SETNAME", keys.CONNECTION_NAME + name))


async def _authenticate(ask: Ask, address: RedisAddress) -> None:
    password = address.password.reveal() if address.password else ""
    if address.username:  # a user with `nopass` has an empty password
        await _login(ask, address, address.username, password)
    elif password:
        try:
            await ask(("AUTH", password))
        except RedisReplyError as error:
            if not needs_none(error.words):
                raise
            warn_no_password(address)


async def _login(ask: Ask, address: RedisAddress, user: str, password: str) -> None:
    """Authenticate with a user, or with the password alone if `gateway.store.authentication` allows it."""
    try:
        await ask(("AUTH", user, password))
    except RedisReplyError as refused:
        if not password or not password_alone(refused.words):
            raise
        try:
            await ask(("AUTH", password))
        except RedisReplyError as error:
            raise (refused if wrong_login(refused.words) else error) from error
        warn_user_ignored(address, user)
