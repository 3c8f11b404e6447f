"""Factory for redis-py's clients, and facts about a server.

redis-py's defaults do not suit a queue: after a socket time-out of 5 s, up to ten silent retries send a blocking
read or an append again, and a repeated append is a second ping. The clients made here never repeat a command.
"""

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import cache, partial
from typing import Any, Final, TypeAlias, TypeVar

import msgspec
from redis import DriverInfo
from redis.asyncio import Redis, Sentinel
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from gateway.errors import BadSetting, StoreDown
from gateway.settings import Secret, Settings
from gateway.store.address import RedisAddress, all_addresses, main_address, queue_address
from gateway.store.command_encoding import CheckedEncoder
from gateway.store.error_replies import is_of_command, to_store_error, words_of
from gateway.store.error_text import error_text
from gateway.store.redis_py_connections import close_at_once, with_own_connections
from gateway.store.redis_py_pool import CONNECTIONS_MAX, with_bounded_pool
from protocols.numbers import whole

__all__ = [
    "Node",
    "RedisAddress",
    "ServerFacts",
    "ask_sentinels",
    "check_trust",
    "client",
    "connect",
    "facts",
    "invalid_ca_files",
    "locate",
    "main_address",
    "queue_address",
    "tls_context",
]

Protocol = TypeVar("Protocol", bound=asyncio.BaseProtocol)

CONNECT_TIMEOUT_S: Final = 5.0
COMMAND_TIMEOUT_S: Final = 10.0
"""Longest wait for one reply on a client without blocking commands; longer than any command of the gateway takes."""
HTTP_TIMEOUT_S: Final = 5.0
"""Reply time-out while an HTTP caller waits: no longer than an append may take (its reply, then its marker), since a
Redis that is silent for so long would not make the append durable either."""
Node: TypeAlias = tuple[str, int]
"""Host and port of a server; the path of a Unix socket has port 0."""
SENTINEL_TIMEOUT_S: Final = 2.0
"""Longest wait for one Sentinel, for the connection and its reply; shorter than the connection time-out of the
master."""

UNKNOWN: Final = "unknown"
"""Version of a server that does not report it."""
_PROTOCOL: Final = 2  # RESP2: Redis 6.2 and all versions of Valkey give the same replies with it.


def client(
    address: RedisAddress,
    *,
    timeout_s: float | None = COMMAND_TIMEOUT_S,
    connections_max: int = CONNECTIONS_MAX,
) -> Redis:
    """Make a redis-py client that never repeats a command by itself and returns replies as bytes.

    Args:
        address: the server or its Sentinels.
        timeout_s: longest wait for one reply; None for a client of blocking commands, whose own time-out counts.
        connections_max: most connections in use at a time; further commands wait for a free connection, see
            `gateway.store.redis_py_pool`.
    """
    return with_bounded_pool(_client(address, timeout_s), connections_max)


def _client(address: RedisAddress, timeout_s: float | None) -> Redis:
    options = _transport(address, timeout_s) | {
        "db": address.db,
        "username": address.username,
        "password": _revealed(address.password),
        "client_name": "rhopush",
        "driver_info": _driver_info(),
    }
    made = _made(address, options)
    # Only the connections accept this option; the client's constructor does not.
    made.connection_pool.connection_kwargs["encoder_class"] = CheckedEncoder
    return with_own_connections(made, address)


@cache  # redis-py would search its version in the installed packages for each client
def _driver_info() -> DriverInfo:
    return DriverInfo()


def _made(address: RedisAddress, options: dict[str, Any]) -> Redis:
    if address.unix_path is not None:
        return Redis(unix_socket_path=address.unix_path, **options)
    if address.sentinels:
        found: Redis = _sentinel(address, address.sentinels).master_for(address.service, **options)
        return found
    return Redis(host=address.host, port=address.port, **options)


def tls_context(address: RedisAddress) -> ssl.SSLContext | None:
    """Make a client context that checks the server's certificate; None without TLS.

    Raises:
        BadSetting: the file of trusted authorities cannot be read.
    """
    try:
        return ssl.create_default_context(cafile=address.ca_file) if address.tls else None
    except OSError as error:  # also the base class of OpenSSL's errors
        why = "not usable as PEM" if isinstance(error, ssl.SSLError) else str(error.strerror).lower()
        raise BadSetting(f"ssl_ca_certs={address.ca_file}: {why}", field="ssl_ca_certs") from error


def invalid_ca_files(settings: Settings) -> Iterator[BadSetting]:
    """Errors of the trusted-authority files of every Redis in the settings."""
    for setting, address in all_addresses(settings):
        try:
            tls_context(address)
        except BadSetting as error:
            yield BadSetting(f"{setting}: {error.message}", field=setting)


def check_trust(settings: Settings) -> None:
    """Read the trusted-authority files once at startup, since an unreadable file later looks like an unreachable
    Redis.

    Raises:
        BadSetting: a file of trusted authorities cannot be read.
    """
    for error in invalid_ca_files(settings):
        raise error


async def connect(address: RedisAddress, factory: Callable[[Node], Protocol]) -> Protocol:
    """Open a connection for an asyncio protocol.

    Args:
        address: address of the server, or of the Sentinels that name the server.
        factory: makes the protocol for the server that was found.

    Raises:
        OSError: Redis cannot be reached.
        UnicodeError: the host name is invalid.
        StoreDown: no Sentinel has the master.
        BadSetting: the file of trusted authorities cannot be read.
    """
    loop = asyncio.get_running_loop()
    if address.unix_path is not None:
        make_local = partial(factory, (address.unix_path, 0))
        return (await loop.create_unix_connection(make_local, address.unix_path))[1]
    node = await locate(address)
    return (await loop.create_connection(partial(factory, node), *node, ssl=tls_context(address)))[1]


async def locate(address: RedisAddress) -> Node:
    """Host and port of the present master, or of the server itself if the address has no Sentinels.

    All Sentinels are asked at the same time, and the first answer that names a master is used: the machine of a master
    often fails together with a Sentinel on it, and a Sentinel that does not answer must not delay the answer of another
    one.

    Raises:
        StoreDown: no Sentinel answers, or no Sentinel has a master of that name.
    """
    if not address.sentinels:
        return address.host, address.port
    queries = [asyncio.create_task(_ask(address, node)) for node in address.sentinels]
    refused: list[str] = []
    try:
        for answer in asyncio.as_completed(queries):
            try:
                return await answer
            except (RedisError, OSError) as error:
                refused.append(f"one {error_text(error)}")
    finally:
        for task in queries:
            task.cancel()
        await asyncio.gather(*queries, return_exceptions=True)
    raise StoreDown(f"no Sentinel names a master of {address.service!r}: {'; '.join(refused)}")


async def ask_sentinels(address: RedisAddress) -> list[Node]:
    """The master that each Sentinel names; those that name none, or do not answer, are left out."""
    answers = await asyncio.gather(
        *(_ask(address, node) for node in address.sentinels), return_exceptions=True
    )
    return [answer for answer in answers if not isinstance(answer, BaseException)]


async def _ask(address: RedisAddress, node: Node) -> Node:
    """Ask one Sentinel for the master's address."""
    watch = _sentinel(address, (node,))
    try:
        host, port = await watch.discover_master(address.service)
    finally:
        for sentinel in watch.sentinels:
            await close_at_once(sentinel)
    return str(host), int(port)


def _sentinel(address: RedisAddress, nodes: Sequence[tuple[str, int]]) -> Sentinel:
    make: Callable[..., Sentinel] = Sentinel  # redis-py's constructor has no type annotations
    options = _transport(address, SENTINEL_TIMEOUT_S) | {"socket_connect_timeout": SENTINEL_TIMEOUT_S}
    made = make(nodes, sentinel_kwargs={**options, "password": _revealed(address.sentinel_password)})
    for sentinel in made.sentinels:
        with_own_connections(sentinel, address)
    return made


def _transport(address: RedisAddress, timeout_s: float | None) -> dict[str, Any]:
    """Options of a connection to any node, Sentinels included."""
    options: dict[str, Any] = {
        "decode_responses": False,
        "protocol": _PROTOCOL,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "retry": Retry(NoBackoff(), 0),
    }
    return options | ({"ssl": True, "ssl_ca_certs": address.ca_file} if address.tls else {})


class ServerFacts(msgspec.Struct, frozen=True):
    """Facts that a server reports about itself. None: not reported (managed services hide CONFIG).

    Attributes:
        product: "redis" or "valkey".
        version: the version as the server reports it.
        append_only: whether it keeps an append-only file. None also while it loads, since it then always reports
            "no".
        append_fsync: "always", "everysec" or "no".
        snapshots: whether it saves snapshots.
        eviction: its policy when memory is full; only `noeviction` never drops a ping.
        memory_max_bytes: its memory limit; 0: no limit.
        replicas: number of connected replicas.
        master: whether it accepts writes.
        loading: whether it is still loading its data.
        cluster: whether it runs in cluster mode.
        clock_behind_s: by how many seconds its clock is behind the local one.
    """

    product: str
    version: str
    append_only: bool | None
    append_fsync: str | None
    snapshots: bool | None
    eviction: str | None
    memory_max_bytes: int
    replicas: int
    master: bool
    loading: bool = False
    cluster: bool = False
    clock_behind_s: float | None = None

    @property
    def number(self) -> tuple[int, int]:
        """Major and minor version, for comparisons. Valkey 7.2 and later compare greater than Redis 6.2."""
        major, minor, *_ = (*self.version.split("."), "0", "0")
        return whole(major) or 0, whole(minor) or 0


async def facts(redis: Redis) -> ServerFacts:
    """Read the facts about a server.

    Raises:
        StoreDown: the server does not answer, or refuses temporarily.
        StoreRefused: the server refuses the connection.
    """
    try:
        info = await _info(redis)
        config = await _config(redis)
    except (RedisError, OSError) as error:
        raise to_store_error(error, f"Redis does not answer: it {error_text(error)}") from error
    loading = bool(info.get("loading"))
    clock_us = info.get("server_time_usec")
    appends = None if loading else info.get("aof_enabled")
    return ServerFacts(
        product="valkey" if "valkey_version" in info else "redis",
        version=str(info.get("valkey_version") or info.get("redis_version", UNKNOWN)),
        append_only=None if appends is None else bool(appends),
        append_fsync=config.get("appendfsync"),
        snapshots=bool(config["save"]) if "save" in config else None,
        eviction=config.get("maxmemory-policy") or info.get("maxmemory_policy"),
        memory_max_bytes=_number(info.get("maxmemory")),
        replicas=_number(info.get("connected_slaves")),
        master=info.get("role") == "master",
        loading=loading,
        cluster=bool(info.get("cluster_enabled")),
        clock_behind_s=None if clock_us is None else time.time() - clock_us / 1e6,
    )


async def _info(redis: Redis) -> dict[str, Any]:
    """The reply to INFO, or the part of it that HELLO returns if the user may not use INFO (`-@dangerous`)."""
    try:
        found: dict[str, Any] = await redis.info()
    except ResponseError as error:
        if not is_of_command(words_of(error)):
            raise
    else:
        return found
    # redis-py's method has no type annotations
    command: Callable[..., Awaitable[Any]] = redis.execute_command
    try:
        reply = await command("HELLO")
    except ResponseError:
        return {"role": "master"}
    pairs = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2], strict=True)
    hello = {as_text(name): value for name, value in pairs}
    product, version = as_text(hello.get("server", "")), as_text(hello.get("version", UNKNOWN))
    return {
        "valkey_version" if product == "valkey" else "redis_version": version,
        "role": as_text(hello.get("role", "master")),
        "cluster_enabled": as_text(hello.get("mode", "")) == "cluster",
    }


async def _config(redis: Redis) -> dict[str, str]:
    """The values of CONFIG GET; empty if a managed service forbids it."""
    found: dict[str, str] = {}
    # one name for each call: Redis 6.2 accepts no more
    for name in ("appendfsync", "save", "maxmemory-policy"):
        try:
            answer = await redis.config_get(name)
        except ResponseError:
            return found
        found |= {as_text(key): as_text(value) for key, value in answer.items()}
    return found


def _number(value: Any) -> int:
    """A count of INFO, which redis-py converts to a number if it looks like one."""
    return value if isinstance(value, int) else 0


def as_text(value: Any) -> str:
    """Return a value of a reply as text: redis-py returns bytes, and numbers where it expects some."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _revealed(secret: Secret | None) -> str | None:
    return None if secret is None else secret.reveal()
