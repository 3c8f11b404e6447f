"""The first commands on a new connection of a `Link`."""

import contextlib
from collections.abc import Awaitable, Callable

from gateway.store import keys
from gateway.store.address import Address
from gateway.store.authentication import (
    needs_none,
    password_alone,
    warn_no_password,
    warn_user_ignored,
    wrong_login,
)
from gateway.store.command_encoding import Word
from gateway.store.replies import ReplyFault, ReplyRefused

Ask = Callable[[tuple[Word, ...]], Awaitable[object]]
"""Sends one command. Raises `ReplyFault` and `LinkLost`."""


async def greet(ask: Ask, address: Address, name: str, *, resp3: bool) -> None:
    """Authenticate, choose protocol and database, and name the connection where Redis lets us.

    Raises:
        ReplyFault: Redis refuses one of them.
        LinkLost: the connection ended.
    """
    await _authenticate(ask, address)
    if resp3:
        await ask(("HELLO", "3"))
    if address.db:
        await ask(("SELECT", address.db))
    with contextlib.suppress(ReplyRefused):  # the name only helps operators
        await ask(("CLIENT", "SETNAME", keys.CONNECTION_NAME + name))


async def _authenticate(ask: Ask, address: Address) -> None:
    password = address.password.reveal() if address.password else ""
    if address.username:  # one of `nopass` has an empty password
        await _login(ask, address, address.username, password)
    elif password:
        try:
            await ask(("AUTH", password))
        except ReplyFault as error:
            if not needs_none(error.words):
                raise
            warn_no_password(address)


async def _login(ask: Ask, address: Address, user: str, password: str) -> None:
    """AUTH with a user, or with the password alone where that is worth a try."""
    try:
        await ask(("AUTH", user, password))
    except ReplyFault as refused:
        if not password or not password_alone(refused.words):
            raise
        try:
            await ask(("AUTH", password))
        except ReplyFault as error:
            raise (refused if wrong_login(refused.words) else error) from error
        warn_user_ignored(address, user)
