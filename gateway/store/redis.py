"""Redis: its address, one factory for redis-py's clients, and the facts about a server.

The factory exists because redis-py's defaults are wrong for a queue: a socket time-out of 5 s and ten silent
retries send a blocking read or an append again, and a repeated append is a second ping. No client made here
repeats anything.
"""

import ssl
from collections.abc import Callable
from typing import Any, Final, Self
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

import msgspec
from redis.asyncio import Redis, Sentinel
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from gateway.errors import BadSetting, StoreDown
from gateway.settings import Secret, Settings

CONNECT_TIMEOUT_S: Final = 5.0
COMMAND_TIMEOUT_S: Final = 10.0
"""Longest wait for one answer of a client that does not block; longer than any command of ours takes."""

_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379
_SCHEMES: Final = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")
_PROTOCOL: Final = 2  # the same replies from Redis 6.2 as from any Valkey


class Address(msgspec.Struct, frozen=True):
    """Where a Redis is. Its text never shows the passwords.

    Attributes:
        host: name or IP address; port: TCP port. Not used with `unix_path` or `sentinels`.
        db: number of the database.
        username: ACL user; None: the default user.
        password: None: no AUTH is sent.
        tls: whether the connection is TLS (`rediss://`).
        ca_file: PEM of authorities to trust with TLS; None: the system's.
        unix_path: socket of a server on this machine.
        sentinels: host and port of each Sentinel.
        service: the name of the master that the Sentinels watch.
        sentinel_password: of the Sentinels themselves.
    """

    host: str = "127.0.0.1"
    port: int = _PORT
    db: int = 0
    username: str | None = None
    password: Secret | None = None
    tls: bool = False
    ca_file: str | None = None
    unix_path: str | None = None
    sentinels: tuple[tuple[str, int], ...] = ()
    service: str = ""
    sentinel_password: Secret | None = None

    @classmethod
    def parse(cls, text: Secret | str) -> Self:
        """Read an address.

        Accepts RhoConnect's `host[:port[:db[:password]]]` (contract §7); `redis://` and `rediss://` with
        `user:password@`, the database as path or `?db=`, and `?ssl_ca_certs=FILE`; `unix:///path?db=N`;
        `redis+sentinel://[user:password@]host[:port],host[:port]/service[/db][?sentinel_password=P]`.

        Raises:
            BadSetting: no address; the message shows no password.
        """
        plain = (text.reveal() if isinstance(text, Secret) else text).strip()
        try:
            return cls(**(_from_url(plain) if "://" in plain else _from_rhoconnect(plain)))
        except ValueError as error:
            raise BadSetting(f"redis: no Redis address: {error}", field="redis") from error

    def __str__(self) -> str:
        if self.unix_path is not None:
            return f"unix://{self.unix_path}?db={self.db}"
        scheme = "rediss" if self.tls else "redis"
        if self.sentinels:
            hosts = ",".join(f"{_bracketed(host)}:{port}" for host, port in self.sentinels)
            return f"{scheme}+sentinel://{hosts}/{self.service}/{self.db}"
        return f"{scheme}://{_bracketed(self.host)}:{self.port}/{self.db}"


def main_address(settings: Settings) -> Address:
    """RhoConnect's own Redis.

    Raises:
        BadSetting: the settings name none: the embedded store must be started first.
    """
    if settings.redis is None:
        raise BadSetting("redis: no address, and no embedded store was started", field="redis")
    return Address.parse(settings.redis)


def queue_address(settings: Settings) -> Address:
    """The Redis in which pings wait: `queue.redis`, else RhoConnect's own."""
    own = settings.queue.redis
    return main_address(settings) if own is None else Address.parse(own)


def client(address: Address, *, timeout_s: float | None = COMMAND_TIMEOUT_S) -> Redis:
    """A redis-py client that never repeats a command by itself and gives replies as bytes.

    Args:
        address: the server, or the Sentinels that know it.
        timeout_s: longest wait for one answer; None for a client of blocking commands, whose own time-out
            counts.
    """
    options = _transport(address, timeout_s) | {
        "db": address.db,
        "username": address.username,
        "password": _revealed(address.password),
        "client_name": "rhopush",
    }
    if address.unix_path is not None:
        return Redis(unix_socket_path=address.unix_path, **options)
    if address.sentinels:
        found: Redis = _sentinel(address).master_for(address.service, **options)
        return found
    return Redis(host=address.host, port=address.port, **options)


def tls_context(address: Address) -> ssl.SSLContext | None:
    """A client context that checks the server's certificate; None without TLS."""
    return ssl.create_default_context(cafile=address.ca_file) if address.tls else None


async def locate(address: Address) -> tuple[str, int]:
    """Host and port of the server that takes writes now; with Sentinels, they are asked.

    Raises:
        StoreDown: no Sentinel answers, or none knows a master of that name.
    """
    if not address.sentinels:
        return address.host, address.port
    watch = _sentinel(address)
    try:
        host, port = await watch.discover_master(address.service)
    except (RedisError, OSError) as error:
        raise StoreDown(f"no Sentinel names a master of {address.service!r}: {error}") from error
    finally:
        for node in watch.sentinels:
            await node.aclose()
    return str(host), int(port)


def _sentinel(address: Address) -> Sentinel:
    make: Callable[..., Sentinel] = Sentinel  # redis-py left its constructor untyped
    options = _transport(address, COMMAND_TIMEOUT_S)
    return make(
        address.sentinels, sentinel_kwargs={**options, "password": _revealed(address.sentinel_password)}
    )


def _transport(address: Address, timeout_s: float | None) -> dict[str, Any]:
    """What holds for a connection to any node, Sentinels included."""
    options: dict[str, Any] = {
        "decode_responses": False,
        "protocol": _PROTOCOL,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "retry": Retry(NoBackoff(), 0),
    }
    return options | ({"ssl": True, "ssl_ca_certs": address.ca_file} if address.tls else {})


class Facts(msgspec.Struct, frozen=True):
    """What a server says about itself. None: it does not tell (managed services hide CONFIG).

    Attributes:
        product: "redis" or "valkey".
        version: as it prints it.
        append_only: whether it keeps an append-only file.
        append_fsync: "always", "everysec" or "no".
        snapshots: whether it saves snapshots.
        eviction: its policy when memory is full; only `noeviction` never drops a ping.
        memory_max_bytes: 0: no limit.
        replicas: how many are connected.
        master: whether it takes writes.
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

    @property
    def number(self) -> tuple[int, int]:
        """Major and minor version, for comparing. Valkey 7.2 and later stand above Redis 6.2."""
        major, minor, *_ = self.version.split(".")
        return int(major), int(minor)


async def facts(redis: Redis) -> Facts:
    """Ask a server about itself.

    Raises:
        StoreDown: it does not answer, or refuses.
    """
    try:
        info: dict[str, Any] = await redis.info()
        config = await _config(redis)
    except (RedisError, OSError) as error:
        raise StoreDown(f"Redis does not answer: {type(error).__name__}: {error}") from error
    appends = info.get("aof_enabled")
    return Facts(
        product="valkey" if "valkey_version" in info else "redis",
        version=str(info.get("valkey_version") or info.get("redis_version", "0.0")),
        append_only=None if appends is None else bool(appends),
        append_fsync=config.get("appendfsync"),
        snapshots=bool(config["save"]) if "save" in config else None,
        eviction=config.get("maxmemory-policy") or info.get("maxmemory_policy"),
        memory_max_bytes=int(info.get("maxmemory", 0)),
        replicas=int(info.get("connected_slaves", 0)),
        master=info.get("role") == "master",
    )


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


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _revealed(secret: Secret | None) -> str | None:
    return None if secret is None else secret.reveal()


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _from_rhoconnect(text: str) -> dict[str, Any]:
    """`host[:port[:db[:password]]]`; the password may hold colons (contract §7)."""
    host, *rest = text.split(":", 3)
    if not host or any(character.isspace() or character in "/@" for character in host):
        raise ValueError("expected host[:port[:db[:password]]] or a URL")
    port, db, password = (*rest, *[""] * (3 - len(rest)))
    return {
        "host": host,
        "port": _number(port, "port") if port else _PORT,
        "db": _number(db, "database") if db else 0,
        "password": Secret(password) if password else None,
    }


def _from_url(text: str) -> dict[str, Any]:
    scheme, _, rest = text.partition("://")
    if scheme not in _SCHEMES:
        raise ValueError(f"unknown scheme {scheme!r}; known are {', '.join(_SCHEMES)}")
    if scheme.endswith("+sentinel"):
        return _from_sentinels(scheme, rest)
    url = urlsplit(text)
    if scheme == "unix":
        return {**_login(url), "unix_path": unquote(url.path), "db": _database(url, "")}
    return {
        **_login(url),
        "host": url.hostname or "127.0.0.1",
        "port": _url_port(url, _PORT),
        "db": _database(url, url.path.strip("/")),
        **_tls(scheme, url),
    }


def _from_sentinels(scheme: str, rest: str) -> dict[str, Any]:
    """Many hosts are no URL: each is read as one, and the first carries the login."""
    hosts, _, path = rest.partition("/")
    login, at, listed = hosts.rpartition("@")
    head = urlsplit(f"redis://{login}{at}h/{path}")
    service, _, db = head.path.strip("/").partition("/")
    if not service:
        raise ValueError("a Sentinel address needs the service's name: redis+sentinel://host,host/service")
    nodes = [urlsplit(f"redis://{node}") for node in listed.split(",")]
    password = _option(head, "sentinel_password")
    return {
        **_login(head),
        "sentinels": tuple((node.hostname or "127.0.0.1", _url_port(node, _SENTINEL_PORT)) for node in nodes),
        "service": unquote(service),
        "db": _database(head, db),
        "sentinel_password": Secret(password) if password else None,
        **_tls(scheme, head),
    }


def _tls(scheme: str, url: SplitResult) -> dict[str, Any]:
    return {"tls": scheme.startswith("rediss"), "ca_file": _option(url, "ssl_ca_certs")}


def _login(url: SplitResult) -> dict[str, Any]:
    return {
        "username": unquote(url.username) if url.username else None,
        "password": Secret(unquote(url.password)) if url.password else None,
    }


def _option(url: SplitResult, name: str) -> str | None:
    values = parse_qs(url.query).get(name)
    return values[-1] if values else None


def _database(url: SplitResult, path: str) -> int:
    return _number(_option(url, "db") or path or "0", "database")


def _url_port(url: SplitResult, default: int) -> int:
    try:
        return default if url.port is None else url.port
    except ValueError as error:
        raise ValueError("the port is no number from 0 to 65535") from error


def _number(text: str, what: str) -> int:
    if not text.isascii() or not text.isdecimal():
        raise ValueError(f"the {what} is no number")
    return int(text)
