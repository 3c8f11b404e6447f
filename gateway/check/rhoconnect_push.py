"""Checks of the RhoConnect Push service: its port, and the registrations of devices in its Redis."""

import asyncio
import re
from collections.abc import Sequence
from typing import Final

from redis.asyncio import ConnectionPool, Redis
from redis.exceptions import RedisError

from gateway.check.findings import Finding, Level
from gateway.server.data_dir import DataDir
from gateway.settings import RHOCONNECT_PUSH_PORT, Settings
from gateway.store import keys
from gateway.store.address import rhoconnect_push_address
from gateway.store.client_factory import client
from gateway.store.error_text import error_text
from gateway.transport.error_text import describe

_TIMEOUT_S: Final = 5.0
_SUBJECT: Final = "rhoconnect_push"
_PROBE: Final = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
_DATABASE: Final = re.compile(r"db([0-9]{1,5})")
_DATABASES_EXAMINED: Final = 10_000
"""Largest number of keys of another database that are searched for a registration."""


async def check_push_port(settings: Settings) -> list[Finding]:
    """Check that no other program uses the port of the built-in service. A gateway on the data folder may."""
    rhoconnect_push = settings.rhoconnect_push
    if rhoconnect_push.mode != "builtin" or rhoconnect_push.port == 0 or DataDir(settings.data_dir).in_use():
        return []
    host = rhoconnect_push.host or "127.0.0.1"
    try:
        answer = await _ask(host, rhoconnect_push.port)
    except ConnectionRefusedError:
        return []
    except (OSError, UnicodeError) as error:
        text = f"{host}:{rhoconnect_push.port}: {describe(error)}: rhoconnect_push.host must be an address of this host"
        return [Finding(Level.WARNING, _SUBJECT, text)]
    # rhoconnect-push answers 403 to every path that it does not serve (contract §9).
    who = "a rhoconnect-push" if answer.startswith(b"HTTP/1.1 403") else "another program"
    text = f"{who} listens on {host}:{rhoconnect_push.port}: stop it first"
    if rhoconnect_push.port == RHOCONNECT_PUSH_PORT:
        text += ", or serve runs without RhoConnect Push devices"
        return [Finding(Level.WARNING, _SUBJECT, text)]
    return [Finding(Level.BAD, _SUBJECT, text)]


async def _ask(host: str, port: int) -> bytes:
    """Return the beginning of the response of the program on a port; b"": it accepted the connection only.

    Raises:
        OSError, UnicodeError: no program accepts the connection.
    """
    async with asyncio.timeout(_TIMEOUT_S):
        reader, writer = await asyncio.open_connection(host, port)
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            writer.write(_PROBE)
            return await reader.read(64)
    except OSError:
        return b""
    finally:
        writer.transport.abort()


async def check_registrations(push_tokens: Sequence[str], settings: Settings) -> list[Finding]:
    """Check that the built-in service's Redis has the registrations of RhoConnect's devices.

    Args:
        push_tokens: push tokens of RhoConnect's RhoConnect Push devices.
    """
    if not push_tokens or settings.rhoconnect_push.mode != "builtin":
        return []
    address = rhoconnect_push_address(settings)
    try:
        async with client(address, timeout_s=_TIMEOUT_S) as redis:
            values = await redis.mget([keys.MAILBOX_INSTANCE_OF + pin for pin in push_tokens])
            elsewhere = [] if any(values) else await _databases_with_registrations(redis, address.db)
    except (RedisError, OSError) as error:
        return [Finding(Level.BAD, _SUBJECT, f"{address} {error_text(error)}")]
    known = sum(value is not None for value in values)
    of_them = f"{known} of {len(push_tokens)} RhoConnect Push devices have their registration in {address}"
    if known:
        return [Finding(Level.GOOD if known == len(push_tokens) else Level.WARNING, _SUBJECT, of_them)]
    hint = "set rhoconnect_push.redis to the Redis of rhoconnect-push (its option redisToGoUrl)"
    if elsewhere:
        hint += f"; there are registrations in database {', '.join(map(str, elsewhere))} of this server"
    return [Finding(Level.BAD, _SUBJECT, f"{of_them}: {hint}")]


async def _databases_with_registrations(redis: Redis, own: int) -> list[int]:
    """Return other databases of the same server with registrations. Databases that cannot be read are omitted."""
    named = (_DATABASE.fullmatch(str(name)) for name in await redis.info("keyspace"))
    others = sorted(int(name[1]) for name in named if name is not None and int(name[1]) != own)
    return [number for number in others if await _has_registrations(redis, number)]


async def _has_registrations(redis: Redis, number: int) -> bool:
    # A separate connection: SELECT would change the database of other commands.
    options = redis.connection_pool.connection_kwargs | {"db": number}
    pool = ConnectionPool(connection_class=redis.connection_pool.connection_class, **options)
    async with Redis.from_pool(pool) as other:
        cursor, seen = 0, 0
        while seen < _DATABASES_EXAMINED:
            cursor, names = await other.scan(cursor, match=f"{keys.MAILBOX_REGISTRATIONS}*", count=1_000)
            if names:
                return True
            seen += 1_000
            if not cursor:
                break
    return False
