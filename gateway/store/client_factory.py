"""One factory for redis-py's clients, and the facts about a server.

The factory exists because redis-py's defaults are wrong for a queue: a socket time-out of 5 s and ten silent
retries send a blocking read or an append again, and a repeated append is a second ping. No client made here
repeats anything.
"""

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final

import msgspec
from redis.asyncio import Redis, Sentinel
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from gateway.errors import BadSetting, StoreDown
from gateway.settings import Secret, Settings
from gateway.store.address import RedisAddress, all_addresses, main_address, queue_address
from gateway.store.command_encoding import CheckedEncoder
from gateway.store.error_replies import is_lasting, to_store_error, words_of
from gateway.store.error_text import error_text
from gateway.store.redis_py_connections import with_lenient_auth
from gateway.store.redis_py_pool import CONNECTIONS_MAX, with_bounded_pool
from protocols.numbers import whole

__all__ = [
    "RedisAddress",
    "ServerFacts",
    "check_trust",
    "client",
    "facts",
    "invalid_ca_files",
    "locate",
    "main_address",
    "queue_address",
    "tls_context",
]

CONNECT_TIMEOUT_S: Final = 5.0
COMMAND_TIMEOUT_S: Final = 10.0
"""Longest wait for one answer of a client that does not block; longer than any command of ours takes."""
HTTP_TIMEOUT_S: Final = 5.0
"""The same where a caller waits at a door: no longer than for an append (its reply, then its marker), which a Redis so
silent would not make durable either."""
SENTINEL_TIMEOUT_S: Final = 2.0
"""Longest wait for one Sentinel, to connect and for its answer: shorter than a link takes to connect."""

UNKNOWN: Final = "unknown"
"""The version of a server that does not tell it."""
_PROTOCOL: Final = 2  # the same replies from Redis 6.2 as from any Valkey


def client(
    address: RedisAddress,
    *,
    timeout_s: float | None = COMMAND_TIMEOUT_S,
    connections_max: int = CONNECTIONS_MAX,
) -> Redis:
    """A redis-py client that never repeats a command by itself and gives replies as bytes.

    Args:
        address: the server, or the Sentinels that know it.
        timeout_s: longest wait for one answer; None for a client of blocking commands, whose own time-out
            counts.
        connections_max: connections that are in use at a time; further commands wait for one, see
            `gateway.store.redis_py_pool`.
    """
    return with_bounded_pool(_client(address, timeout_s), connections_max)


def _client(address: RedisAddress, timeout_s: float | None) -> Redis:
    options = _transport(address, timeout_s) | {
        "db": address.db,
        "username": address.username,
        "password": _revealed(address.password),
        "client_name": "rhopush",
    }
    made = _made(address, options)
    # An option of its connections only; the client's own constructor does not take it.
    made.connection_pool.connection_kwargs["encoder_class"] = CheckedEncoder
    return with_lenient_auth(made, address)


def _made(address: RedisAddress, options: dict[str, Any]) -> Redis:
    if address.unix_path is not None:
        return Redis(unix_socket_path=address.unix_path, **options)
    if address.sentinels:
        found: Redis = _sentinel(address, address.sentinels).master_for(address.service, **options)
        return found
    return Redis(host=address.host, port=address.port, **options)


def tls_context(address: RedisAddress) -> ssl.SSLContext | None:
    """A client context that checks the server's certificate; None without TLS.

    Raises:
        BadSetting: the authorities to trust cannot be read.
    """
    try:
        return ssl.create_default_context(cafile=address.ca_file) if address.tls else None
    except OSError as error:  # OpenSSL's errors are of this kind, too
        why = "not usable as PEM" if isinstance(error, ssl.SSLError) else str(error.strerror).lower()
        raise BadSetting(f"ssl_ca_certs={address.ca_file}: {why}", field="ssl_ca_certs") from error


def invalid_ca_files(settings: Settings) -> Iterator[BadSetting]:
    """What is wrong with the authorities to trust, of every Redis that the settings name."""
    for setting, address in all_addresses(settings):
        try:
            tls_context(address)
        except BadSetting as error:
            yield BadSetting(f"{setting}: {error.message}", field=setting)


def check_trust(settings: Settings) -> None:
    """Look at the authorities to trust once: later, a file that cannot be read is a Redis that cannot be reached.

    Raises:
        BadSetting: of some Redis they cannot be read.
    """
    for error in invalid_ca_files(settings):
        raise error


async def locate(address: RedisAddress) -> tuple[str, int]:
    """Host and port of the server that takes writes now; with Sentinels, they are asked.

    All at once, and the first that knows is believed: a master's machine often dies with a Sentinel on it, and
    one that is silent must not use up the time in which another would have answered.

    Raises:
        StoreDown: no Sentinel answers, or none knows a master of that name.
    """
    if not address.sentinels:
        return address.host, address.port
    asking = [asyncio.create_task(_ask(address, node)) for node in address.sentinels]
    refused: list[str] = []
    try:
        for answer in asyncio.as_completed(asking):
            try:
                return await answer
            except (RedisError, OSError) as error:
                refused.append(f"one {error_text(error)}")
    finally:
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
    raise StoreDown(f"no Sentinel names a master of {address.service!r}: {'; '.join(refused)}")


async def _ask(address: RedisAddress, node: tuple[str, int]) -> tuple[str, int]:
    """Where the master is, as one Sentinel says."""
    watch = _sentinel(address, (node,))
    try:
        host, port = await watch.discover_master(address.service)
    finally:
        for asked in watch.sentinels:
            await asked.aclose()
    return str(host), int(port)


def _sentinel(address: RedisAddress, nodes: Sequence[tuple[str, int]]) -> Sentinel:
    make: Callable[..., Sentinel] = Sentinel  # redis-py left its constructor untyped
    options = _transport(address, SENTINEL_TIMEOUT_S) | {"socket_connect_timeout": SENTINEL_TIMEOUT_S}
    made = make(nodes, sentinel_kwargs={**options, "password": _revealed(address.sentinel_password)})
    for asked in made.sentinels:
        with_lenient_auth(asked, address)
    return made


def _transport(address: RedisAddress, timeout_s: float | None) -> dict[str, Any]:
    """What holds for a connection to any node, Sentinels included."""
    options: dict[str, Any] = {
        "decode_responses": False,
        "protocol": _PROTOCOL,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "retry": Retry(NoBackoff(), 0),
    }
    return options | ({"ssl": True, "ssl_ca_certs": address.ca_file} if address.tls else {})


class ServerFacts(msgspec.Struct, frozen=True):
    """What a server says about itself. None: it does not tell (managed services hide CONFIG).

    Attributes:
        product: "redis" or "valkey".
        version: as it prints it.
        append_only: whether it keeps an append-only file. None also while it loads: it says no then, whatever is so.
        append_fsync: "always", "everysec" or "no".
        snapshots: whether it saves snapshots.
        eviction: its policy when memory is full; only `noeviction` never drops a ping.
        memory_max_bytes: 0: no limit.
        replicas: how many are connected.
        master: whether it takes writes.
        loading: whether it is still reading its data.
        cluster: whether it runs in cluster mode.
        clock_behind_s: by how much its clock is behind the local one.
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
        """Major and minor version, for comparing. Valkey 7.2 and later stand above Redis 6.2."""
        major, minor, *_ = (*self.version.split("."), "0", "0")
        return whole(major) or 0, whole(minor) or 0


async def facts(redis: Redis) -> ServerFacts:
    """Ask a server about itself.

    Raises:
        StoreDown: it does not answer, or refuses for now.
        StoreRefused: it refuses the connection.
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
    """What INFO says, or as much of it as HELLO does where the user may not use INFO (`-@dangerous`)."""
    try:
        found: dict[str, Any] = await redis.info()
    except ResponseError as error:
        if not is_lasting(words_of(error)):
            raise
    else:
        return found
    command: Callable[..., Awaitable[Any]] = redis.execute_command  # left untyped
    try:
        said = await command("HELLO")
    except ResponseError:
        return {"role": "master"}
    pairs = said.items() if isinstance(said, dict) else zip(said[::2], said[1::2], strict=True)
    hello = {_text(name): value for name, value in pairs}
    product, version = _text(hello.get("server", "")), _text(hello.get("version", UNKNOWN))
    return {
        "valkey_version" if product == "valkey" else "redis_version": version,
        "role": _text(hello.get("role", "master")),
        "cluster_enabled": _text(hello.get("mode", "")) == "cluster",
    }


async def _config(redis: Redis) -> dict[str, str]:
    """What CONFIG GET tells, or nothing where a managed service forbids it."""
    found: dict[str, str] = {}
    for name in ("appendfsync", "save", "maxmemory-policy"):  # one name a call: Redis 6.2 takes no more
        try:
            answer = await redis.config_get(name)
        except ResponseError:
            return found
        found |= {_text(key): _text(value) for key, value in answer.items()}
    return found


def _number(value: Any) -> int:
    """A count of INFO, which redis-py gives as a number where it looks like one."""
    return value if isinstance(value, int) else 0


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _revealed(secret: Secret | None) -> str | None:
    return None if secret is None else secret.reveal()
