"""Authentication of users and apps against RhoConnect, with a short-lived cache of positive answers.

rhoconnect-push asks RhoConnect about every call of a device, and caches the answers about apps alone. The gateway
caches positive answers about both, so that the three calls with which a device registers cause one request to
RhoConnect.
"""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from typing import Final

import aiohttp

from gateway.errors import RhoPushError
from gateway.scheduling.fair_work import FairWork
from gateway.system.answer_start import read_start
from protocols.rhoconnect_push.wire import proper_cookies, without_instance

APP_S: Final = 60.0
"""Lifetime of a positive answer: rhoconnect-push's authCredentialLifetime. It is not extended by use, so that a
withdrawn password stops working."""
USER_S: Final = 10.0
_REMEMBERED_MAX: Final = 10_000
_ANSWER_S: Final = 10.0
LINE_BYTES_MAX: Final = 8_190
"""Longest header line passed on to RhoConnect, in bytes without its CRLF: the default limit of Apache and nginx.

Devices send a session cookie of at most 4,096 bytes, the instance cookie and Basic credentials.
"""

UserAuthenticator = Callable[[str, str | None, str], Awaitable[bool]]
"""Authenticates a user by the Cookie header and the Authorization header; the third argument names the client."""
AppAuthenticator = Callable[[str, str], Awaitable[bool]]
"""Authenticates an app by its Authorization header; the second argument names the client."""


class AuthServiceDown(RhoPushError):
    """The service that authenticates users and apps does not answer. Devices receive 503 (contract §9)."""

    status = 503
    code = "auth_service_down"
    label = "auth_service_down"
    retryable = True


class PositiveCache:
    """A bounded cache of recent positive answers, keyed by a digest of the question."""

    def __init__(self, life_s: float, clock: Callable[[], float]) -> None:
        self._life_s = life_s
        self._clock = clock
        self._until: dict[bytes, float] = {}

    def contains(self, question: str) -> bool:
        """Return whether the question had a positive answer within the lifetime."""
        until = self._until.get(_digest(question))
        return until is not None and self._clock() < until

    def add(self, question: str) -> None:
        """Record a positive answer. The oldest answers are evicted."""
        key = _digest(question)
        self._until.pop(key, None)
        if len(self._until) >= _REMEMBERED_MAX:
            del self._until[next(iter(self._until))]
        self._until[key] = self._clock() + self._life_s


class Authenticator:
    """Authentication of users and apps, with a cache of positive answers.

    Args:
        user: authenticates users.
        app: authenticates apps.
        app_s: lifetime of a positive answer about an app, in seconds.
        user_s: lifetime of a positive answer about a user, in seconds.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        user: UserAuthenticator,
        app: AppAuthenticator,
        *,
        app_s: float = APP_S,
        user_s: float = USER_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._user = user
        self._app = app
        self._apps = PositiveCache(app_s, clock)
        self._users = PositiveCache(user_s, clock)

    async def user(self, cookies: str, authorization: str | None, client: str = "") -> bool:
        """Return whether the headers authenticate a user.

        Args:
            cookies: the request's Cookie header.
            authorization: the request's Authorization header.
            client: the client that sent the request: RhoConnect's capacity is shared fairly among clients.

        Raises:
            AuthServiceDown: RhoConnect cannot be asked.
            AuthenticationBusy: too many clients wait for an answer.
        """
        cookies = proper_cookies(cookies)
        question = f"{without_instance(cookies)}\n{authorization}"
        if self._users.contains(question):
            return True
        good = await self._user(cookies, authorization, client)
        if good:
            self._users.add(question)
        return good

    def is_app_cached(self, authorization: str) -> bool:
        """Return whether a positive answer about this app is cached."""
        return self._apps.contains(authorization)

    async def app(self, authorization: str, client: str = "") -> bool:
        """Return whether the header authenticates an app.

        Raises:
            AuthServiceDown, AuthenticationBusy: see `user`.
            TooManyRequests: this client sent too many wrong credentials.
        """
        if self.is_app_cached(authorization):
            return True
        good = await self._app(authorization, client)
        if good:
            self._apps.add(authorization)
        return good


class RhoConnectAuthenticator:
    """Asks RhoConnect (contract §2.2): 204 is a positive answer, every other status a negative one.

    A header that exceeds the limit of a web server, or is not a single line, is not sent, and counts as a negative
    answer.

    Args:
        url: URL of `rps_login`.
        connections_max: largest number of concurrent requests.
    """

    def __init__(self, url: str, connections_max: int = 20) -> None:
        self._url = url
        self._connections_max = connections_max
        self._limit = FairWork(connections_max)
        self._session: aiohttp.ClientSession | None = None

    async def user(self, cookies: str, authorization: str | None, client: str = "") -> bool:
        """Authenticate a user by the client's own Cookie and Authorization headers; an absent header is empty."""
        return await self._in_turn({"Cookie": cookies, "Authorization": authorization or ""}, client)

    async def app(self, authorization: str, client: str = "") -> bool:
        """Authenticate an app."""
        return await self._in_turn({"Authorization": authorization}, client)

    async def close(self) -> None:
        """Close the connections to RhoConnect."""
        await self._limit.close()
        if self._session is not None:
            await self._session.close()

    async def _in_turn(self, headers: dict[str, str], client: str) -> bool:
        """Ask once a connection is free. Waiting for a connection does not count towards RhoConnect's time limit."""

        async def ask() -> bool:
            return await self._ask(headers)

        good = await self._limit.run(ask, client=client)
        if not good:
            self._limit.demote(client, "")
        return good

    async def _ask(self, headers: dict[str, str]) -> bool:
        if not all(_may_be_sent(name, value) for name, value in headers.items()):
            return False
        session = self._open()
        headers |= {"Content-Type": "application/json", "Connection": "keep-alive"}
        try:
            async with session.get(self._url, headers=headers, allow_redirects=False) as answer:
                await read_start(answer)
                return answer.status == 204
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise AuthServiceDown(f"RhoConnect does not answer: {type(error).__name__}") from error
        except ValueError:
            return False  # the HTTP client refuses the header

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections_max),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=_ANSWER_S),
                auto_decompress=False,
                loop=asyncio.get_running_loop(),
            )
        return self._session


def _may_be_sent(name: str, value: str) -> bool:
    """Return whether a client's header may be passed on: a single line that web servers accept by its length."""
    if any(character in value for character in "\r\n\0"):
        return False
    return len(name) + len(": ") + len(value.encode("utf-8", "surrogatepass")) <= LINE_BYTES_MAX


def _digest(question: str) -> bytes:
    return hashlib.blake2b(question.encode("utf-8", "surrogatepass"), digest_size=16).digest()
