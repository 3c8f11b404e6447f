"""Legacy devices whose push service is another server: the gateway posts to it as RhoConnect does.

A few workers hold the connections and take turns at what waits: the service answers within a millisecond or
is in trouble, and it never was fast enough to need more. The request is RhoConnect's (contract §4); unlike
there, every answer is judged.
"""

import asyncio
import base64
import contextlib
import time
from collections.abc import Sequence
from typing import Final
from urllib.parse import unquote, urlsplit

import aiohttp
import structlog
from yarl import URL

from gateway.clock import SHARED_CLOCK
from gateway.delivery.batch import Delivery
from gateway.delivery.dead_tokens import TokenReports
from gateway.delivery.lane import GRACE_S, Lane
from gateway.delivery.provider import Provider
from gateway.delivery.retry import EXPIRED
from gateway.errors import BadSetting
from gateway.metrics import Metrics
from gateway.settings import RetrySettings, Secret
from protocols.verdict import Verdict, VerdictKind

_log = structlog.get_logger("lane")

CONNECTIONS_MAX: Final = 8
DEADLINE_S: Final = 15.0
_CONNECT_S: Final = 5.0
_RETRY_S: Final = 0.5
_DOWN: Final = Verdict(VerdictKind.LATER, "no_connection")


class RemoteRhoConnectPushLane(Lane):
    """The way to legacy devices through an outside push service.

    Args:
        provider: how pings are told and answers judged.
        push_server: its URL with the app's credentials; any path in it is lost, as in RhoConnect.
        retry: when sends come again.
        metrics: where verdicts are counted.
        tokens: takes note of tokens that are no longer registered.

    Raises:
        BadSetting: the URL is none.
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
        )
        self._more = asyncio.Event()
        self._in_flight = 0
        self._down_since: float | None = None
        self._error: str | None = None
        self._session: aiohttp.ClientSession | None = None
        self._workers: list[asyncio.Task[None]] = []

    def offer(self, deliveries: Sequence[Delivery], *, bulk: bool) -> None:
        """Take sends. Each ends with a verdict in its unit."""
        self._enqueue(deliveries, bulk=bulk)
        self.wake()

    def wake(self) -> None:
        """Let the workers look; the first time, start them."""
        if not self._workers:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS_MAX),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=DEADLINE_S, sock_connect=_CONNECT_S),
            )
            self._workers = [
                asyncio.create_task(self._work(self._session), name=self.name) for _ in range(CONNECTIONS_MAX)
            ]
        self._more.set()

    @property
    def in_flight(self) -> int:
        """Requests without an answer."""
        return self._in_flight

    @property
    def error_text(self) -> str | None:
        """Why this lane cannot send now."""
        return None if self._down_since is None else self._error

    def sweep(self) -> None:
        """Park what waits for a server that cannot be reached."""
        self._metrics.lane_in_flight(self.name).set(self._in_flight)
        self._metrics.lane_down(self.name).set(int(self._down_since is not None))
        if self._down_since is not None and time.monotonic() - self._down_since > GRACE_S:
            self._park_above(0, _DOWN)

    async def close(self, budget_s: float) -> None:
        """Wait for what is in flight, within the budget; what waits stays in its units."""
        self._clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(budget_s):
                while self._in_flight:
                    self._more.clear()
                    await self._more.wait()
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def _work(self, session: aiohttp.ClientSession) -> None:
        while True:
            waiting = self._small or self._bulk
            if not waiting:
                self._more.clear()
                await self._more.wait()
                continue
            delivery = waiting.popleft()
            if self._is_over(delivery, SHARED_CLOCK.now_ms()):
                self._end(delivery, EXPIRED)
                continue
            self._in_flight += 1
            try:
                await self._post(session, delivery)
            finally:
                self._in_flight -= 1
                self._more.set()

    async def _post(self, session: aiohttp.ClientSession, delivery: Delivery) -> None:
        url = URL(self._origin + delivery.path.decode(), encoded=True)
        try:
            async with session.post(
                url,
                data=delivery.message.body(delivery.device.pin),
                headers=self._headers,
                allow_redirects=False,
            ) as answer:
                body = await answer.read()
        except aiohttp.ClientConnectorError as error:
            await self._unreachable(delivery, error)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            reason = "deadline" if isinstance(error, TimeoutError) else "connection_lost"
            self._later(delivery, Verdict(VerdictKind.UNKNOWN, reason), 0)
        else:
            self._down_since = None
            headers = [(name.lower(), value) for name, value in answer.raw_headers]
            verdict = self.provider.judge(answer.status, headers, body, SHARED_CLOCK.now_s())
            self._on_response(delivery, answer.status, verdict)

    def _on_response(self, delivery: Delivery, status: int, verdict: Verdict) -> None:
        if verdict.kind == VerdictKind.ACCEPTED:
            self._count_accepted((delivery,))
            delivery.batch.accept(delivery.index)
        elif verdict.kind == VerdictKind.LATER:
            self._later(delivery, verdict, status)
        else:
            if verdict.dead:
                self._report_dead(delivery, verdict)
            self._end(delivery, verdict.reason)

    async def _unreachable(self, delivery: Delivery, error: OSError) -> None:
        """Nothing was sent: it waits on, or is parked by the next sweep."""
        self._requeue_first(delivery)
        self._error = error.strerror or type(error).__name__
        if self._down_since is None:
            self._down_since = time.monotonic()
            _log.warning("lane_down", lane=self.name, error=self._error)
        await asyncio.sleep(_RETRY_S)


def read_push_server(push_server: Secret) -> tuple[str, str]:
    """The origin of a `:push_server:` URL, and the Authorization header that its credentials make (contract §4).

    Raises:
        BadSetting: it is no http or https URL with a host.
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
