"""Checks of the RhoConnect Push service: its port, another push service, and the registrations of devices in its
Redis."""

import asyncio
import re
import ssl
from collections.abc import Sequence
from typing import Final

from redis.asyncio import ConnectionPool, Redis
from redis.exceptions import RedisError

from gateway.check.findings import Finding, Level
from gateway.delivery.provider_registry import installed
from gateway.delivery.providers.base import ProviderServer
from gateway.errors import BadSetting
from gateway.server.data_dir import DataDir
from gateway.settings import RHOCONNECT_PUSH_PORT, Settings
from gateway.store import keys
from gateway.store.address import RedisAddress, all_addresses, rhoconnect_push_address
from gateway.store.client_factory import client
from gateway.store.error_text import error_text
from gateway.transport.error_text import describe
from gateway.transport.tls import client_context

_TIMEOUT_S: Final = 5.0
_SUBJECT: Final = "rhoconnect_push"
_REFUSAL: Final = b"HTTP/1.1 403"
"""Start of the answer of rhoconnect-push to every path that it does not serve (contract §9)."""
_PROBE: Final = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
_DATABASE: Final = re.compile(r"db([0-9]{1,5})")
_DATABASES_EXAMINED: Final = 10_000
"""Largest number of keys of another database that are searched for a registration."""


async def check_push_port(settings: Settings) -> list[Finding]:
    """Check that neither metrics nor another program use the port of the built-in service. A gateway on the data folder
    may use it."""
    rhoconnect_push = settings.rhoconnect_push
    if (
        rhoconnect_push.mode == "builtin"
        and rhoconnect_push.host is None
        and 0 != rhoconnect_push.port == settings.metrics.port
    ):
        text = f"metrics.port and rhoconnect_push.port are both {rhoconnect_push.port}: change one of them"
        return [Finding(_level(rhoconnect_push.port), _SUBJECT, text)]
    if rhoconnect_push.mode != "builtin" or rhoconnect_push.port == 0 or DataDir(settings.data_dir).in_use():
        return []
    host = rhoconnect_push.host or "127.0.0.1"
    try:
        answer = await _ask(host, rhoconnect_push.port, None)
    except ConnectionRefusedError:
        return []
    except (OSError, UnicodeError) as error:
        text = f"{host}:{rhoconnect_push.port}: {describe(error)}: rhoconnect_push.host must be an address of this host"
        return [Finding(Level.WARNING, _SUBJECT, text)]
    who = "a rhoconnect-push" if answer is not None and answer.startswith(_REFUSAL) else "another program"
    text = f"{who} listens on {host}:{rhoconnect_push.port}: stop it first"
    level = _level(rhoconnect_push.port)
    if level is Level.WARNING:
        text += ", or serve runs without RhoConnect Push devices"
    return [Finding(level, _SUBJECT, text)]


def _level(port: int) -> Level:
    """Return the level of a port that is taken: a gateway starts without the service if it is the default port."""
    return Level.WARNING if port == RHOCONNECT_PUSH_PORT else Level.BAD


async def check_push_server(settings: Settings) -> list[Finding]:
    """Check that the other push service of the mode `client` answers as one.

    `check_provider` reports a server that cannot be reached.
    """
    if settings.rhoconnect_push.mode != "client":
        return []
    try:
        provider = installed().get(_SUBJECT)
        servers = [] if provider is None else list(provider.servers(settings, ""))
    except BadSetting:  # the check of credentials reports it
        return []
    return [finding for server in servers for finding in await _check_push_server(server)]


async def _check_push_server(server: ProviderServer) -> list[Finding]:
    subject = f"{server.name} {server.host}:{server.port}"
    try:
        answer = await _ask(server.host, server.port, client_context() if server.tls else None)
    except (OSError, UnicodeError):
        return []
    if answer is None:
        return [Finding(Level.BAD, subject, "accepts connections and does not answer")]
    if answer.startswith(_REFUSAL):
        return []
    first = answer.split(b"\r\n")[0].decode("ascii", "backslashreplace") or "nothing"
    return [Finding(Level.WARNING, subject, f"is no rhoconnect-push: it answers {first!r} to GET /, not 403")]


async def _ask(host: str, port: int, tls: ssl.SSLContext | None) -> bytes | None:
    """Return the beginning of the answer to a path that no push service has; None: it accepted the connection only.

    Raises:
        OSError, UnicodeError: no program accepts the connection.
    """
    async with asyncio.timeout(_TIMEOUT_S):
        reader, writer = await asyncio.open_connection(host, port, ssl=tls)
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            writer.write(_PROBE)
            return await reader.read(64)
    except OSError:
        return None
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
            known = await _count_registered(redis, push_tokens)
            elsewhere = [] if known else await _databases_with_registrations(redis, address.db)
    except (RedisError, OSError) as error:
        return [Finding(Level.BAD, _SUBJECT, f"{address} {error_text(error)}")]
    of_them = f"{known} of {len(push_tokens)} RhoConnect Push devices have their registration in {address}"
    if known:
        return [Finding(Level.GOOD if known == len(push_tokens) else Level.WARNING, _SUBJECT, of_them)]
    hint = "set rhoconnect_push.redis to the Redis of rhoconnect-push (its option redisToGoUrl)"
    for setting, other in _others(settings, address):
        if count := await _count_in(other, push_tokens):
            hint += f"; {count} have it in {other}, the Redis of {setting}"
    if elsewhere:
        hint += f"; there are registrations in database {', '.join(map(str, elsewhere))} of this server"
    return [Finding(Level.BAD, _SUBJECT, f"{of_them}: {hint}")]


def _others(settings: Settings, own: RedisAddress) -> list[tuple[str, RedisAddress]]:
    """Return the other Redis of the settings, each once."""
    found: dict[str, tuple[str, RedisAddress]] = {}
    for setting, address in all_addresses(settings):
        found.setdefault(str(address), (setting, address))
    found.pop(str(own), None)
    return list(found.values())


async def _count_in(address: RedisAddress, push_tokens: Sequence[str]) -> int:
    """Return how many tokens are registered in a Redis; 0 for a Redis that does not answer: other checks report it."""
    try:
        async with client(address, timeout_s=_TIMEOUT_S) as redis:
            return await _count_registered(redis, push_tokens)
    except (RedisError, OSError):
        return 0


async def _count_registered(redis: Redis, push_tokens: Sequence[str]) -> int:
    values = await redis.mget([keys.MAILBOX_INSTANCE_OF + pin for pin in push_tokens])
    return sum(value is not None for value in values)


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
