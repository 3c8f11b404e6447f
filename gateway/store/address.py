"""Redis addresses as settings write them.

This module imports no Redis library, since the supervisor reads addresses too.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple, Self
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

import msgspec

from gateway.errors import BadSetting
from gateway.settings import Secret, Settings
from gateway.store.keys import ResqueKeys
from protocols.credential_text import is_path
from protocols.numbers import whole

_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379
_NUMBER_MAX: Final = 2**31 - 1
_NO_PORT: Final = "the port must be a number from 0 to 65535"
_SCHEMES: Final = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")


class RedisAddress(msgspec.Struct, frozen=True):
    """Address of a Redis server or of its Sentinels. Its text form never shows the passwords.

    Attributes:
        host: name or IP address; port: TCP port. Not used with `unix_path` or `sentinels`.
        db: number of the database.
        username: ACL user; None: the default user.
        password: None: no AUTH is sent.
        tls: whether the connection uses TLS (`rediss://`).
        ca_file: PEM file of the trusted certificate authorities; None: the system's.
        unix_path: path of the server's unix socket on this machine.
        sentinels: host and port of each Sentinel.
        service: name of the master that the Sentinels monitor.
        sentinel_password: password of the Sentinels themselves.
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
    def parse(cls, text: Secret | str, *, setting: str = "redis") -> Self:
        """Parse an address.

        Accepts RhoConnect's `host[:port[:db[:password]]]` (contract §7); `redis://` and `rediss://` with
        `user:password@`, the database as path or `?db=`, and `?ssl_ca_certs=FILE`; `unix:///path?db=N`;
        `redis+sentinel://[user:password@]host[:port],host[:port]/service[/db][?sentinel_password=P]`.

        Args:
            text: the address.
            setting: name of the setting, for the error message.

        Raises:
            BadSetting: the text is not an address or has an unknown option; the message shows no password.
        """
        plain = (text.reveal() if isinstance(text, Secret) else text).strip()
        try:
            return cls(**(_from_url(plain) if "://" in plain else _from_rhoconnect(plain)))
        except _InvalidAddress as error:
            raise BadSetting(f"{setting}: not a Redis address: {error.why}", field=setting) from error
        except ValueError:
            # An error of the standard library. Its cause is not chained, since it may quote a password.
            raise BadSetting(
                f"{setting}: not a Redis address: not a well-formed URL", field=setting
            ) from None

    def __str__(self) -> str:
        if self.unix_path is not None:
            return f"unix://{self.unix_path}?db={self.db}"
        scheme = "rediss" if self.tls else "redis"
        if self.sentinels:
            hosts = ",".join(f"{_bracketed(host)}:{port}" for host, port in self.sentinels)
            return f"{scheme}+sentinel://{hosts}/{self.service}/{self.db}"
        return f"{scheme}://{_bracketed(self.host)}:{self.port}/{self.db}"


def main_address(settings: Settings) -> RedisAddress:
    """The address of RhoConnect's own Redis.

    Raises:
        BadSetting: the settings have no address; the embedded store must be started first.
    """
    if settings.redis is None:
        raise BadSetting("redis: no address is set, and no embedded store was started", field="redis")
    return RedisAddress.parse(settings.redis)


def document_addresses(settings: Settings) -> tuple[RedisAddress, ...]:
    """The addresses of every Redis that holds RhoConnect's documents: all shards of a list, the main one first.

    Raises:
        BadSetting: the settings have no address.
    """
    if not settings.documents:
        return (main_address(settings),)
    return tuple(RedisAddress.parse(one) for one in settings.documents)


def queue_address(settings: Settings) -> RedisAddress:
    """The address of the Redis that holds the queue: `queue.redis`, or else RhoConnect's own."""
    own = settings.queue.redis
    return main_address(settings) if own is None else RedisAddress.parse(own)


def rhoconnect_push_address(settings: Settings) -> RedisAddress:
    """The address of the Redis of the RhoConnect Push service: `rhoconnect_push.redis`, or else RhoConnect's own."""
    own = settings.rhoconnect_push.redis
    return main_address(settings) if own is None else RedisAddress.parse(own)


class ResqueLocation(NamedTuple):
    """A Redis, and the names of Resque's keys in it."""

    address: RedisAddress
    names: ResqueKeys = ResqueKeys()

    @classmethod
    def parse(cls, text: Secret | str) -> Self:
        """Parse `resque.redis`.

        Accepts any form of an address, and Resque's `host:port[:db]/namespace`. A URL names the namespace as
        `?namespace=`.

        Raises:
            BadSetting: the text is not an address.
        """
        plain = text.reveal() if isinstance(text, Secret) else text
        if "://" not in plain:
            server, _, namespace = plain.partition("/")
        else:
            server, _, namespace = plain.partition("namespace=")
            namespace, _, rest = namespace.partition("&")
            server = (server + rest).rstrip("?&")
        address = RedisAddress.parse(server, setting="resque.redis")
        return cls(address, ResqueKeys(namespace)) if namespace else cls(address)


def resque_location(settings: Settings) -> ResqueLocation:
    """The Redis and the key names of Resque: `resque.redis`, or else RhoConnect's own Redis.

    Raises:
        BadSetting: the setting is not an address, or the settings have no address.
    """
    own = settings.resque.redis
    return ResqueLocation(main_address(settings)) if own is None else ResqueLocation.parse(own)


def all_addresses(settings: Settings) -> Iterator[tuple[str, RedisAddress]]:
    """Every Redis address in the settings, with the name of its setting.

    Raises:
        BadSetting: a setting is not an address.
    """
    if settings.resque.redis is not None:
        yield "resque.redis", ResqueLocation.parse(settings.resque.redis).address
    named = {
        "redis": settings.redis,
        "queue.redis": settings.queue.redis,
        "rhoconnect_push.redis": settings.rhoconnect_push.redis,
    }
    for setting, text in (*named.items(), *(("redis", text) for text in settings.documents)):
        if text is not None:
            yield setting, RedisAddress.parse(text, setting=setting)


class _InvalidAddress(ValueError):
    """The text is not an address; `why` is the reason in the gateway's own wording."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _host(name: str | None) -> str:
    """Return the host, by default this machine, if its name could be resolved."""
    host = name or "127.0.0.1"
    try:
        host.encode("idna")
    except UnicodeError as error:
        raise _InvalidAddress("a part of the host name is empty, too long or not allowed") from error
    return host


def _from_rhoconnect(text: str) -> dict[str, Any]:
    """Parse `host[:port[:db[:password]]]`; the password may hold colons (contract §7)."""
    host, *rest = text.split(":", 3)
    if not host or any(character.isspace() or character in "/@" for character in host):
        raise _InvalidAddress("expected host[:port[:db[:password]]] or a URL")
    port, db, password = (*rest, *[""] * (3 - len(rest)))
    return {
        "host": _host(host),
        "port": _port(port) if port else _PORT,
        "db": _number(db, "database") if db else 0,
        "password": Secret(password) if password else None,
    }


def _from_url(text: str) -> dict[str, Any]:
    scheme, _, rest = text.partition("://")
    scheme = scheme.lower()  # RFC 3986 §3.1
    if scheme not in _SCHEMES:
        raise _InvalidAddress(f"unknown scheme {scheme!r}; known schemes are {', '.join(_SCHEMES)}")
    if scheme.endswith("+sentinel"):
        return _from_sentinels(scheme, rest)
    url = _split(text, scheme)
    if scheme == "unix":
        return {**_login(url), "unix_path": _path(unquote(url.path)), "db": _database(url, "")}
    return {
        **_login(url),
        "host": _host(url.hostname),
        "port": _url_port(url, _PORT),
        "db": _database(url, url.path.strip("/")),
        **_tls(scheme, url),
    }


def _from_sentinels(scheme: str, rest: str) -> dict[str, Any]:
    """Parse a Sentinel URL.

    A list of hosts is not valid in a URL, so each host is parsed as a URL; the first one carries the login.
    """
    hosts, _, path = rest.partition("/")
    login, at, listed = hosts.rpartition("@")
    head = _split(f"redis://{login}{at}h/{path}", scheme)
    service, _, db = head.path.strip("/").partition("/")
    if not service:
        raise _InvalidAddress(
            "a Sentinel address needs the name of the service: redis+sentinel://host,host/service"
        )
    nodes = [urlsplit(f"redis://{node}") for node in listed.split(",")]
    password = _option(head, "sentinel_password")
    return {
        **_login(head),
        "sentinels": tuple((_host(node.hostname), _url_port(node, _SENTINEL_PORT)) for node in nodes),
        "service": unquote(service),
        "db": _database(head, db),
        "sentinel_password": Secret(password) if password else None,
        **_tls(scheme, head),
    }


def _split(text: str, scheme: str) -> SplitResult:
    """Split a URL and check its options. The error never quotes text that could be part of a password."""
    url = urlsplit(text)
    known = ["db"]
    known += ["ssl_ca_certs"] if scheme.startswith("rediss") else []
    known += ["sentinel_password"] if scheme.endswith("+sentinel") else []
    unknown = [name for name in parse_qs(url.query, keep_blank_values=True) if name not in known]
    if url.fragment or (unknown and "@" in url.query):
        raise _InvalidAddress("write # as %23 and ? as %3F in a name or password")
    if unknown:
        raise _InvalidAddress(f"unknown option {unknown[0]!r}; {scheme}:// accepts {', '.join(known)}")
    return url


def _tls(scheme: str, url: SplitResult) -> dict[str, Any]:
    file = _option(url, "ssl_ca_certs")
    return {"tls": scheme.startswith("rediss"), "ca_file": None if file is None else _path(file)}


def _path(text: str) -> str:
    """Check the path of a file or socket; another text may be a key, and is not quoted."""
    if not is_path(text):
        raise _InvalidAddress("a path of this machine is expected after unix:// and in ssl_ca_certs")
    return text


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
        raise _InvalidAddress(_NO_PORT) from error


def _port(text: str) -> int:
    """Check the port here, since a socket accepts any number and connects to its lowest 16 bits."""
    port = whole(text, highest=65_535)
    if port is None:
        raise _InvalidAddress(_NO_PORT)
    return port


def _number(text: str, what: str) -> int:
    number = whole(text, highest=_NUMBER_MAX)
    if number is None:
        raise _InvalidAddress(f"the {what} must be a number")
    return number
