"""Who may: users and apps, as somebody else judges them, and what is remembered of that for a short time.

rhoconnect-push asks RhoConnect about every call of a device, and remembers only apps. Here a good answer is
remembered for both, so that the three calls with which a device registers are one question.
"""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from typing import Final

import aiohttp

from gateway.errors import RhoPushError
from gateway.scheduling.fair_work import FairWork
from protocols.rhoconnect_push.wire import proper_cookies, without_instance

APP_S: Final = 60.0
"""rhoconnect-push's authCredentialLifetime, but not sliding: a withdrawn password stops working."""
USER_S: Final = 10.0
_REMEMBERED_MAX: Final = 10_000
_ANSWER_S: Final = 10.0
LINE_BYTES_MAX: Final = 8_190
"""Longest header line that RhoConnect is sent, in bytes without its CRLF: the default limit of Apache and nginx.

Devices send a session cookie of at most 4,096 bytes, the instance cookie and Basic credentials.
"""

UserAuthenticator = Callable[[str, str | None, str], Awaitable[bool]]
"""Judges a device's user by its Cookie header and its Authorization header; in the turn of its client."""
AppAuthenticator = Callable[[str, str], Awaitable[bool]]
"""Judges an app by its Authorization header; in the turn of its client."""


class AuthServiceDown(RhoPushError):
    """Whoever judges users or apps does not answer. Devices hear 503 (contract §9)."""

    status = 503
    code = "auth_service_down"
    label = "auth_service_down"
    retryable = True


class PositiveCache:
    """Good answers of the last seconds, by a digest of what was asked; bounded."""

    def __init__(self, life_s: float, clock: Callable[[], float]) -> None:
        self._life_s = life_s
        self._clock = clock
        self._until: dict[bytes, float] = {}

    def contains(self, question: str) -> bool:
        """Whether this was answered with yes a short time ago."""
        until = self._until.get(_digest(question))
        return until is not None and self._clock() < until

    def add(self, question: str) -> None:
        """It was answered with yes. The oldest answers make room."""
        key = _digest(question)
        self._until.pop(key, None)
        if len(self._until) >= _REMEMBERED_MAX:
            del self._until[next(iter(self._until))]
        self._until[key] = self._clock() + self._life_s


class Authenticator:
    """Both gates, with memory.

    Args:
        user: judges users.
        app: judges apps.
        app_s: how long a good answer about an app is believed.
        user_s: and about a user.
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
        """Whether this is a user.

        Args:
            cookies: the request's.
            authorization: the request's.
            client: the client that sent it, as questions are shared out among clients.

        Raises:
            AuthorityDown: nobody could be asked.
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
        """Whether this app was found good a short time ago."""
        return self._apps.contains(authorization)

    async def app(self, authorization: str, client: str = "") -> bool:
        """Whether this is an app. Raises as `user`; TooManyRequests: too many wrong credentials of this client."""
        if self.is_app_cached(authorization):
            return True
        good = await self._app(authorization, client)
        if good:
            self._apps.add(authorization)
        return good


class RhoConnectAuthenticator:
    """Asks RhoConnect (contract §2.2): 204 is good, every other answer is not.

    A header that is too long for a web server, or that is no single line, is not sent: its answer is no.

    Args:
        url: of `rps_login`.
        connections_max: asked at the same time.
    """

    def __init__(self, url: str, connections_max: int = 20) -> None:
        self._url = url
        self._connections_max = connections_max
        self._limit = FairWork(connections_max)
        self._session: aiohttp.ClientSession | None = None

    async def user(self, cookies: str, authorization: str | None, client: str = "") -> bool:
        """Judge a user: the client's own Cookie and Authorization headers, or empty ones."""
        return await self._in_turn({"Cookie": cookies, "Authorization": authorization or ""}, client)

    async def app(self, authorization: str, client: str = "") -> bool:
        """Judge an app."""
        return await self._in_turn({"Authorization": authorization}, client)

    async def close(self) -> None:
        """End its connections."""
        await self._limit.close()
        if self._session is not None:
            await self._session.close()

    async def _in_turn(self, headers: dict[str, str], client: str) -> bool:
        """Ask once a connection is free: many who wait for one are no RhoConnect that does not answer."""

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
                await answer.read()
                return answer.status == 204
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise AuthServiceDown(f"RhoConnect does not answer: {type(error).__name__}") from error
        except ValueError:
            return False  # a header that cannot be sent

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections_max),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=_ANSWER_S),
                loop=asyncio.get_running_loop(),
            )
        return self._session


def _may_be_sent(name: str, value: str) -> bool:
    """Whether a client's header may be repeated to RhoConnect: one line, which no server refuses for its length."""
    if any(character in value for character in "\r\n\0"):
        return False
    return len(name) + len(": ") + len(value.encode("utf-8", "surrogatepass")) <= LINE_BYTES_MAX


def _digest(question: str) -> bytes:
    return hashlib.blake2b(question.encode("utf-8", "surrogatepass"), digest_size=16).digest()
