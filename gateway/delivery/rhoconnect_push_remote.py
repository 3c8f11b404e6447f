"""The lane to RhoConnect Push devices whose push service is another server: the gateway posts as RhoConnect does.

A few workers hold the connections and take turns with the waiting deliveries: the service normally answers within
a millisecond, and more connections would not make it faster. The request is RhoConnect's (contract §4); unlike in
RhoConnect, every response is judged.
"""

import asyncio
import base64
import contextlib
from functools import partial
from typing import Final
from urllib.parse import unquote, urlsplit

import aiohttp
from yarl import URL

from gateway.clock import SHARED_CLOCK
from gateway.delivery.batch import Delivery
from gateway.delivery.dead_tokens import TokenReports
from gateway.delivery.lane import Lane
from gateway.delivery.link_state import LinkEvent, LinkState
from gateway.delivery.provider import Provider
from gateway.errors import BAD_DATA, BadSetting
from gateway.metrics import Metrics
from gateway.scheduling.background import run_in_background
from gateway.settings import RetrySettings, Secret
from gateway.system.answer_start import read_start
from gateway.system.network_errors import describe
from protocols.verdict import Verdict, VerdictKind

CONNECTIONS_MAX: Final = 8
DEADLINE_S: Final = 15.0
RECONNECT_S: Final = 10.0
"""Longest time between two attempts to reach a server that is down."""
_CONNECT_S: Final = 5.0
_RETRY_S: Final = 0.5
"""Time before the first attempt to reach a server again; it doubles up to `RECONNECT_S`."""
_DOWN: Final = LinkState.DOWN


class RemoteRhoConnectPushLane(Lane):
    """The lane to RhoConnect Push devices through an external push service.

    Args:
        provider: composes messages and judges responses.
        push_server: its URL with the app's credentials; any path in it is ignored, as in RhoConnect.
        retry: settings for the times of retries.
        metrics: counts verdicts.
        tokens: receives the tokens that are no longer registered.

    Raises:
        BadSetting: the address is not a URL.
    """

    def __init__(
        self,
        provider: Provider,
        push_server: Secret,
        retry: RetrySettings,
        metrics: Metrics,
        tokens: TokenReports,
    ) -> None:
        self._origin, authorization = read_push_server(push_server)
        self._headers = {"Content-Type": "application/json", "Authorization": authorization}
        super().__init__(
            f"{provider.name}:{self._origin.partition('://')[2]}",
            provider,
            retry,
            metrics,
            tokens,
            DEADLINE_S,
        )
        self._more = asyncio.Event()
        self._in_flight = 0
        self._session: aiohttp.ClientSession | None = None
        self._workers: list[asyncio.Task[None]] = []
        self._reconnecting: asyncio.Task[None] | None = None

    @property
    def host(self) -> str:
        """The push service's name, with its port if the address has one."""
        return self._origin.partition("://")[2]

    def wake(self) -> None:
        """Let the workers take the deliveries that may begin; start the workers at the first call."""
        if not self._workers:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=DEADLINE_S, sock_connect=_CONNECT_S),
                auto_decompress=False,
            )
            self._workers = [
                run_in_background(partial(self._work, self._session), self.name)
                for _ in range(CONNECTIONS_MAX)
            ]
        self._more.set()

    @property
    def in_flight(self) -> int:
        """Number of requests without a response."""
        return self._in_flight

    async def close(self, budget_s: float) -> None:
        """Wait for the requests in flight, within the budget; waiting deliveries stay in their batches."""
        self._stop_waiting()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(budget_s):
                while self._in_flight:
                    self._more.clear()
                    await self._more.wait()
        tasks = [*self._workers, *([self._reconnecting] if self._reconnecting is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def _work(self, session: aiohttp.ClientSession) -> None:
        while True:
            delivery = self._take()
            if delivery is None:
                self._more.clear()
                await self._more.wait()
                continue
            self._in_flight += 1
            try:
                await self._post(session, delivery)
            except BAD_DATA as error:  # without its workers, the lane would send nothing
                self._fail(delivery, error)
            finally:
                self._in_flight -= 1
                self._more.set()

    def _take(self) -> Delivery | None:
        """The next delivery that may begin; while the server is down, only `_reconnect` tries to reach it."""
        if not len(self._backlog) or self._link.state is _DOWN or not self._may_begin(1):
            return None
        now_ms = SHARED_CLOCK.now_ms()
        delivery = self._next(self._backlog.small, self._backlog.bulk, now_ms)
        self._count_begun(int(delivery is not None))
        if delivery is not None:
            self._times.begun(delivery, 1, now_ms)
        return delivery

    async def _post(self, session: aiohttp.ClientSession, delivery: Delivery) -> None:
        url = URL(self._origin + delivery.path.decode(), encoded=True)
        try:
            async with session.post(
                url,
                data=delivery.message.body(delivery.device.pin),
                headers=self._headers,
                allow_redirects=False,
            ) as answer:
                body = await read_start(answer)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            # The request was not sent. A `ConnectionTimeoutError` is a `TimeoutError`, too: this clause comes first.
            self._times.unprocessed(delivery)
            self._requeue(delivery)
            self._unreachable(error)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._times.answered(delivery, 0)
            reason = "deadline" if isinstance(error, TimeoutError) else "connection_lost"
            self._later(delivery, Verdict(VerdictKind.UNKNOWN, reason), 0)
        else:
            self._times.answered(delivery, answer.status)
            self._on_link(LinkEvent.CONNECTED)
            headers = [(name.lower(), value) for name, value in answer.raw_headers]
            verdict = self._judged(answer.status, headers, body)
            self._on_response(delivery, answer.status, verdict)

    def _on_response(self, delivery: Delivery, status: int, verdict: Verdict) -> None:
        self._apply(verdict)
        if verdict.kind == VerdictKind.ACCEPTED:
            self._credential_accepted()
            self._count_accepted((delivery,))
            delivery.batch.accept(delivery.index)
        elif verdict.kind == VerdictKind.LATER:
            self._later(delivery, verdict, status)
        else:
            if verdict.dead:
                self._tokens.on_dead(delivery, verdict)
            self._reject(delivery, verdict.reason)

    def _unreachable(self, error: OSError) -> None:
        self._on_link(LinkEvent.FAILED, describe(error))
        if self._reconnecting is None or self._reconnecting.done():
            name = f"reconnect:{self.name}"
            self._reconnecting = run_in_background(self._reconnect, name)

    async def _reconnect(self) -> None:
        """Try to reach the server until that succeeds, so that the lane recovers even if no delivery waits."""
        wait_s = _RETRY_S
        while self._link.state is _DOWN:
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, RECONNECT_S)
            try:
                await self._connect()
            except OSError as error:  # includes TimeoutError
                self._on_link(LinkEvent.FAILED, describe(error))
            else:
                self._on_link(LinkEvent.CONNECTED)
        self._more.set()

    async def _connect(self) -> None:
        """Open a connection as a request would, and close it.

        Raises:
            OSError: the server cannot be reached, or its certificate is not valid for it.
        """
        url = URL(self._origin)
        async with asyncio.timeout(_CONNECT_S):
            _, writer = await asyncio.open_connection(
                url.host, url.port, ssl=True if url.scheme == "https" else None
            )
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def read_push_server(push_server: Secret) -> tuple[str, str]:
    """The origin of a `:push_server:` URL, and the Authorization header made from its credentials (contract §4).

    Raises:
        BadSetting: it is not an http or https URL with a host.
    """
    try:
        url = urlsplit(push_server.reveal())
        port = url.port
    except ValueError:
        url, port = urlsplit(""), None
    if url.scheme not in ("http", "https") or not url.hostname:
        raise BadSetting("push_server: expected http://app[:password]@host[:port]/", field="push_server")
    host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    origin = f"{url.scheme}://{host}" + ("" if port is None else f":{port}")
    login = f"{unquote(url.username or '')}:{unquote(url.password or '')}"
    return origin, "Basic " + base64.b64encode(login.encode()).decode()
