"""The Redis of a measurement, and its counters.

Its CPU and bytes are reported with every figure, so that work that moves to Redis does not look like a gain in
speed.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import redis

from gateway.bench.errors import CannotMeasure
from gateway.bench.interrupts import uninterrupted
from gateway.errors import BadSetting
from gateway.store import keys
from gateway.store.address import RedisAddress
from gateway.store.embedded import EmbeddedStore

_POLL_S: Final = 0.01
_SILENT_S: Final = 60.0
_REWRITE_S: Final = 300.0


class Counters(NamedTuple):
    """Counters of the server since its start.

    Attributes:
        cpu_s: user and system time of the server and its children.
        network_bytes: received and sent bytes together.
        memory_bytes: present memory of its data.
        keys: present number of keys in all databases.
        lasting: number of those that never expire.
    """

    cpu_s: float
    network_bytes: int
    memory_bytes: int
    keys: int
    lasting: int

    def since(self, before: "Counters") -> "Counters":
        """The difference to an earlier reading."""
        return Counters(
            self.cpu_s - before.cpu_s,
            self.network_bytes - before.network_bytes,
            self.memory_bytes - before.memory_bytes,
            self.keys - before.keys,
            self.lasting - before.lasting,
        )


def given_address(text: str) -> RedisAddress:
    """Parse the address of a given server, in any form of the settings except one with Sentinels, since its counters
    are needed.

    Raises:
        BadSetting: it is not an address, or has Sentinels.
    """
    address = RedisAddress.parse(text, setting="--redis")
    if address.sentinels:
        raise BadSetting(
            "--redis: the address must be that of the server itself, not of its Sentinels", field="redis"
        )
    return address


def client_of(address: RedisAddress) -> redis.Redis:
    """A blocking client of a server."""
    options: dict[str, Any] = {"db": address.db, "username": address.username}
    options["password"] = address.password.reveal() if address.password else None
    if address.unix_path is not None:
        return redis.Redis(unix_socket_path=address.unix_path, **options)
    if address.tls:
        options |= {"ssl": True, "ssl_ca_certs": address.ca_file}
    return redis.Redis(host=address.host, port=address.port, **options)


class Store:
    """A server: an own one on a folder (as the gateway's embedded one), or a given one, which must be empty.

    Args:
        folder: the gateway's data folder.
        address: address of a given one; None: the embedded one.

    Attributes:
        needs: checks of the processes that settle pings: without them, no wait would end.

    Raises:
        BadSetting: the address is not that of one server.
    """

    def __init__(self, folder: Path, address: str | None) -> None:
        self._given = None if address is None else given_address(address)
        self.needs: list[Callable[[], None]] = []
        self._embedded = EmbeddedStore(folder / "valkey")
        self.address = address or f"unix://{self._embedded.address.unix_path}"

    def __enter__(self) -> Self:
        with ExitStack() as broken_off:
            if self._given is None:
                with uninterrupted():
                    self._embedded.start()
                    broken_off.callback(self._embedded.stop)
            self.client = client_of(self._given or self._embedded.address)
            try:
                if self.client.dbsize():
                    raise CannotMeasure("the given Redis is not empty: give one whose content may be deleted")
            except redis.RedisError as error:
                raise CannotMeasure(f"the given Redis cannot be used: {error}") from error
            broken_off.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Convert the server's errors: all users of the server run within this context.

        Raises:
            CannotMeasure: the server failed.
        """
        self._end()
        if isinstance(error, redis.RedisError):
            raise CannotMeasure(f"Redis failed: {error}") from error

    def _end(self) -> None:
        if self._given is None:
            self.client.close()
            self._embedded.stop()
            return
        with suppress(redis.RedisError):
            self.client.flushdb()
        self.client.close()

    @property
    def name(self) -> str:
        """Kind, version and persistence, for the report."""
        facts = self._info("server") | self._info("persistence")
        kind = "Valkey" if facts.get("server_name") == "valkey" else "Redis"
        version = facts.get("valkey_version") or facts["redis_version"]
        return f"{kind} {version}, append-only file {'on' if facts.get('aof_enabled') else 'off'}"

    def counters(self) -> Counters:
        """The present counters."""
        cpu, stats = self._info("cpu"), self._info("stats")
        used = sum(float(value) for name, value in cpu.items() if name in _CPU)
        network = stats["total_net_input_bytes"] + stats["total_net_output_bytes"]
        keyspace = self._info("keyspace").values()
        total = sum(database["keys"] for database in keyspace)
        lasting = total - sum(database["expires"] for database in keyspace)
        return Counters(used, network, self._info("memory")["used_memory"], total, lasting)

    def pending(self) -> int:
        """Number of pings that are accepted and not settled, and of their remaining chunks and scheduled deliveries.

        A broadcast counts as a ping until it is split; its last chunks are settled after that.
        """
        with self.client.pipeline() as ask:
            ask.hget(keys.STATS, "pings")
            for stream in (keys.BROADCASTS, keys.CHUNKS, keys.RETRIES):
                ask.xlen(stream)
            ask.zcard(keys.SCHEDULE)
            accepted, *rest = ask.execute()
        return int(accepted or 0) + sum(map(int, rest))

    def emptied(self, silent_s: float = _SILENT_S) -> None:
        """Wait until every ping and all its deliveries are settled: the end of every measurement.

        Raises:
            CannotMeasure: none was settled for this time, or a required process has ended.
        """
        least = self.pending()
        heard = time.monotonic()
        while least > 0:
            time.sleep(_POLL_S)
            for check in self.needs:
                check()
            pending = self.pending()
            if pending < least:
                least, heard = pending, time.monotonic()
            elif time.monotonic() - heard > silent_s:
                raise CannotMeasure(f"{pending} pings or chunks had no verdict within {silent_s:.0f} s")

    def rewritten(self, within_s: float = _REWRITE_S) -> None:
        """Rewrite the append-only file now, and wait for it; does nothing without one.

        The data written before a measurement bring the file near the size at which the server rewrites it by itself,
        which took 0.8 s of its CPU in some windows over 100,000 users and none in others.

        Raises:
            CannotMeasure: it took longer.
        """
        if not self._info("persistence").get("aof_enabled"):
            return
        with suppress(redis.ResponseError):  # a rewrite is running already, or the command is not permitted
            self.client.bgrewriteaof()
        until = time.monotonic() + within_s
        while any(self._info("persistence").get(sign) for sign in _REWRITING):
            if time.monotonic() > until:
                raise CannotMeasure(f"Redis did not rewrite its append-only file within {within_s:.0f} s")
            time.sleep(_POLL_S)

    def without_receipts(self, silent_s: float = _SILENT_S) -> None:
        """Wait until no receipt is left.

        Raises:
            CannotMeasure: none was removed for this time.
        """
        least, heard = self.client.zcard(keys.RECEIPTS), time.monotonic()
        while least:
            time.sleep(_POLL_S)
            left = self.client.zcard(keys.RECEIPTS)
            if left < least:
                least, heard = left, time.monotonic()
            elif time.monotonic() - heard > silent_s:
                raise CannotMeasure(f"{left} receipts are kept beyond their time")

    def round_trip_s(self, pause_s: float = 0.0) -> float:
        """Median time of a PING by a blocking client, with this pause between two."""
        times = []
        for _ in range(200):
            if pause_s:
                time.sleep(pause_s)
            begun = time.perf_counter()
            self.client.ping()
            times.append(time.perf_counter() - begun)
        return sorted(times)[len(times) // 2]

    def _info(self, section: str) -> dict[str, Any]:
        facts: dict[str, Any] = self.client.info(section)
        return facts


_REWRITING: Final = ("aof_rewrite_in_progress", "aof_rewrite_scheduled")
_CPU: Final = ("used_cpu_user", "used_cpu_sys", "used_cpu_user_children", "used_cpu_sys_children")
