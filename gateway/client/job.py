"""`PingJob`: RhoConnect's three calls, cancelling, and streams of many pings."""

import importlib
import os
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator
from typing import Any, ClassVar, Final

from gateway.client.bulk_lines import BulkItem, BulkResult
from gateway.client.errors import PingError
from gateway.client.messages import failures
from gateway.client.sync_client import SyncClient
from gateway.system.secret import Secret

DEFAULT_SERVER: Final = "http://127.0.0.1:9292"
DEFAULT_TIMEOUT_S: Final = 60.0
"""Longer than the gateway's own `ping.wait_max_s`, so that the gateway answers first."""
TIMEOUT_MAX_S: Final = 1e6
"""Longest time limit: the operating system refuses much longer ones."""


class PingJob:
    """Pings users' devices through a gateway. All methods are class methods, as in RhoConnect."""

    _server: ClassVar[str | None] = None
    _token: ClassVar[Secret | None] = None
    _redis: ClassVar[Secret | None] = None
    _timeout_s: ClassVar[float] = DEFAULT_TIMEOUT_S

    @classmethod
    def configure(
        cls,
        *,
        server: str | None = None,
        token: str | None = None,
        redis: str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        """Set where pings are sent. Omitted arguments reset to their defaults.

        Args:
            server: the gateway's URL; None: `RHOPUSH_SERVER`, then http://127.0.0.1:9292.
            token: the API token; None: `API_TOKEN`.
            redis: address of RhoConnect's Redis; if set, `enqueue` appends a Resque job there.
            timeout_s: longest time that `perform` may take, delivery included.

        Raises:
            ValueError: `timeout_s` is not above 0 and at most `TIMEOUT_MAX_S`.
        """
        if not 0 < timeout_s <= TIMEOUT_MAX_S:
            raise ValueError(f"timeout_s must be seconds, above 0 and at most {TIMEOUT_MAX_S:g}")
        cls._server = server
        cls._token = Secret(token) if token else None
        cls._redis = Secret(redis) if redis else None
        cls._timeout_s = timeout_s

    @classmethod
    def perform(cls, **parameters: Any) -> str:
        """Send a ping, block until every device has a verdict, and return the ping's id.

        Raises:
            PingError: the ping was not accepted, or not delivered to every device, or not in time.
        """
        return _delivered(cls._client().deliver(parameters))

    @classmethod
    async def aperform(cls, **parameters: Any) -> str:
        """`perform` for asyncio programs.

        Raises:
            PingError: as in `perform`.
        """
        async_client = importlib.import_module("gateway.client.async_client")
        report = await async_client.deliver(cls._address(), cls._secret(), cls._timeout_s, parameters)
        return _delivered(report)

    @classmethod
    def enqueue(cls, **parameters: Any) -> str | None:
        """Queue a ping and return as soon as it is durable.

        Returns:
            The ping's id; None for a Resque job, which has none yet.

        Raises:
            PingError: the ping was not accepted.
            BadSetting: `redis` is not an address.
        """
        if cls._redis is None:
            return cls._client().send(parameters)
        address = importlib.import_module("gateway.store.address").RedisAddress.parse(cls._redis)
        importlib.import_module("gateway.client.resque").push(address, parameters)
        return None

    @classmethod
    def cancel(cls, ping_id: str) -> str:
        """Cancel a ping: devices to which the gateway has begun no request get no push.

        Returns:
            The state of the ping: `open` while deliveries are in flight, `cancelled` once it is finished.

        Raises:
            PingError: the ping is unknown or finished, or the gateway refuses or cannot be reached.
        """
        return str(cls._client().cancel(ping_id)["state"])

    @classmethod
    async def acancel(cls, ping_id: str) -> str:
        """`cancel` for asyncio programs.

        Raises:
            PingError: as in `cancel`.
        """
        async_client = importlib.import_module("gateway.client.async_client")
        answer = await async_client.cancel(cls._address(), cls._secret(), cls._timeout_s, ping_id)
        return str(answer["state"])

    @classmethod
    def bulk(cls, pings: Iterable[BulkItem]) -> Iterator[BulkResult]:
        """Send many pings through one streamed request, and yield each result, in order, as soon as it is available.

        A lost connection is replaced. Each line has an idempotency key, so that no ping is sent twice. At most a
        thousand pings are read from the iterable ahead of the results. Code that runs in an event loop must use
        `abulk` instead.

        Args:
            pings: the parameters of each ping, or lines of NDJSON.

        Raises:
            PingError: the gateway refuses the request as a whole, or returned no result for `timeout_s`.
            TypeError: `pings` is a single ping, or an item is no ping.
            RuntimeError: the caller runs in an event loop.
        """
        bulk = importlib.import_module("gateway.client.bulk")
        for results in bulk.blocking(cls._address(), cls._secret(), pings, cls._timeout_s):
            yield from results

    @classmethod
    async def abulk(
        cls, pings: Iterable[BulkItem] | AsyncIterable[BulkItem]
    ) -> AsyncGenerator[BulkResult, None]:
        """`bulk` for asyncio; the iterable may be an asynchronous one."""
        bulk = importlib.import_module("gateway.client.bulk")
        session = bulk.BulkSession(cls._address(), cls._secret(), pings, cls._timeout_s)
        try:
            while results := await session.take():
                for result in results:
                    yield result
        finally:
            await session.close()

    @classmethod
    def _client(cls) -> SyncClient:
        return SyncClient(cls._address(), cls._secret(), cls._timeout_s)

    @classmethod
    def _address(cls) -> str:
        return cls._server or os.environ.get("RHOPUSH_SERVER") or DEFAULT_SERVER

    @classmethod
    def _secret(cls) -> str:
        return cls._token.reveal() if cls._token else os.environ.get("API_TOKEN", "")


def _delivered(report: dict[str, Any]) -> str:
    ping_id = str(report.get("ping_id", ""))
    errors = failures(report)
    if errors:
        raise PingError(errors, ping_id)
    return ping_id
