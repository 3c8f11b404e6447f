"""Simulated RhoConnect Push device: it registers, polls, delivers to its apps and acknowledges as the device
services do.

Their behaviour is described in contract §9.1; `ANDROID` and `WINDOWS` contain the differences. The simulation
follows each service exactly where a server can observe it: how cookies are joined, when a poll times out, what is
deleted after which status, and that a message for an unknown token is never acknowledged.
"""

import asyncio
import base64
import json
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import aiohttp
from multidict import CIMultiDict

from protocols.errors import RhoPushError


class DeviceBehaviour(NamedTuple):
    """Behaviour of one kind of device.

    Attributes:
        name: for display.
        joined: cookies are joined by a comma (.NET's Headers.Add), not sent as two headers.
        keep_alive: a poll's connection is kept open.
        wait_s: longest wait for a poll's answer.
        retry_s: wait after a failure.
        retry_max_s: upper bound of that wait, which doubles with each failure.
        pause_s: wait after each answer.
        id_max: highest id that it can store.
        forgets: 401 and 404 to a poll end its registrations; otherwise it repeats every refused call without limit.
    """

    name: str
    joined: bool
    keep_alive: bool
    wait_s: float
    retry_s: float
    retry_max_s: float
    pause_s: float
    id_max: int
    forgets: bool


ANDROID: Final = DeviceBehaviour("android", False, True, 120.0, 8.0, 120.0, 0.0, (1 << 63) - 1, True)
WINDOWS: Final = DeviceBehaviour("windows", True, False, 100.0, 60.0, 60.0, 1.0, (1 << 31) - 1, False)

_ERRORS: Final = {401: "UNAUTHORIZED", 404: "APP_NOT_REGISTERED"}


class RegistrationRefused(RhoPushError):
    """The push service did not register the device. The message contains `status` in the device's own format."""

    code = "registration_refused"
    label = "registration_refused"


class Received(NamedTuple):
    """A message that an app on the device received.

    Attributes:
        message_id: its id.
        app: the receiving app.
        data: alert, sound, vibrate, do_sync, and all other fields.
    """

    message_id: int
    app: str
    data: dict[str, Any]


class RhoConnectPushDevice:
    """One device with its push service.

    Args:
        url: URL of the push service (`http://HOST:8675`).
        user: the user's login.
        password: the user's password.
        session: the app's session with RhoConnect, as a cookie (`rhoconnect_session=...`).
        behaviour: `ANDROID` or `WINDOWS`.
        on_message: called with each message.
        speed_up: divisor of the device's own pauses, which saves minutes in tests.

    Attributes:
        instance, cookie: as the service assigned them; "": none.
        tokens: by app.
        last: the highest id that it acknowledges; -1: none.
        received: every message, in order.
    """

    def __init__(
        self,
        url: str,
        user: str,
        password: str,
        session: str,
        *,
        behaviour: DeviceBehaviour = ANDROID,
        on_message: Callable[[Received], None] | None = None,
        speed_up: float = 1.0,
    ) -> None:
        self._url = url.rstrip("/")
        self._user = user
        self._session = session
        self._authorization = _basic(user, password)
        self._on_message = on_message
        self._speed_up = speed_up
        self._http: aiohttp.ClientSession | None = None
        self._more = asyncio.Event()
        self.behaviour = behaviour
        self.instance = self.cookie = ""
        self.tokens: dict[str, str] = {}
        self._users: dict[str, str] = {}
        """The user who registered each app of `tokens`."""
        self.last = -1
        self.received: list[Received] = []
        self.statuses: list[int] = []
        """Statuses of the polls so far; 0 for a poll without an answer."""
        self.statuses_of_checks: list[int] = []
        """Statuses of the registration checks so far."""

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._http is not None:
            await self._http.close()

    # -- registration ----------------------------------------------------------------------------------------

    async def register(self, app: str) -> str:
        """Register an app, and return its token. An app that the user has registered is looked up only.

        An Android device requests a cookie only together with an id: with an id and without a cookie it sends nothing.

        Raises:
            RegistrationRefused: the service refuses the registration.
        """
        if not self.instance:
            await self._begin()
        elif not self.cookie and self.behaviour.forgets:
            raise RegistrationRefused("an id without a cookie")
        if not self.cookie:
            await self.fetch_cookie()
        known = app in self.tokens and self._users.get(app, self._user) == self._user
        status, _, body = await self._call("GET" if known else "PUT", self._registration(app))
        self.tokens[app] = str(_expect(status, 200 if known else 201, body)["token"])
        self._users[app] = self._user
        return self.tokens[app]

    async def enrol(self, app: str) -> str:
        """Register an app as the device's service does for it: Windows repeats without limit, Android tries once.

        Raises:
            RegistrationRefused: the push service refused an Android device.
        """
        while True:
            try:
                return await self.register(app)
            except RegistrationRefused:
                if self.behaviour.forgets:
                    raise
            await asyncio.sleep(self.behaviour.retry_s / self._speed_up)

    async def start(self) -> None:
        """Start the device's service (Android's TokenChecker): check each app."""
        for app in tuple(self.tokens):
            await self.check(app)

    def move(self, url: str) -> None:
        """Change the server behind the name of the push service. The device keeps all its state."""
        self._url = url.rstrip("/")

    def change_user(self, user: str, password: str, session: str) -> None:
        """Log in as another user; the device's service keeps its instance and cookie."""
        self._user = user
        self._session = session
        self._authorization = _basic(user, password)

    async def check(self, app: str) -> bool:
        """Ask the service whether an app is still registered, as a device does for each app at its start.

        After a 401 the device ends the registration and begins it again by itself, with the same token.
        """
        status, _, body = await self._call("GET", self._registration(app))
        self.statuses_of_checks.append(status)
        if status == 200:
            self.tokens[app] = str(json.loads(body)["token"])
        elif status == 404:
            self._end(app)
        return status == 200

    async def unregister(self, app: str) -> None:
        """End an app's registration; for an Android device, 404 counts as success.

        Raises:
            RegistrationRefused: the service refused.
        """
        status, _, body = await self._call("DELETE", self._registration(app))
        if status != 404 or not self.behaviour.forgets:
            _expect(status, 204, body)
        self._end(app)

    async def _begin(self) -> None:
        """Get an id, and on an Android device also its cookie. After a 404 to the cookie it drops the id."""
        status, _, body = await self._call("POST", "/instanceId")
        self.instance = str(_expect(status, 200, body)["instance"])
        if self.behaviour.forgets:
            await self.fetch_cookie()

    async def fetch_cookie(self) -> None:
        """Request the cookie of its id.

        Raises:
            RegistrationRefused: the service refuses it.
        """
        status, headers, _ = await self._call("GET", f"/instanceId/{self.instance}")
        if status == 404 and self.behaviour.forgets:
            self.instance = ""
        _expect(status, 204, b"")
        name, _, value = headers.get("Set-Cookie", "").partition(";")[0].partition("=")
        if name != "instance":
            raise RegistrationRefused("SERVICE_NOT_AVAILABLE (no instance cookie)")
        self.cookie = value

    def _end(self, app: str) -> None:
        """Forget a registration, and with the last one the last message."""
        self.tokens.pop(app, None)
        self._users.pop(app, None)
        if not self.tokens:
            self.last = -1

    # -- messages --------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Poll until no app is registered."""
        failures = 0
        while self.tokens:
            status = await self.poll()
            failures = 0 if status in (200, 204) else failures + 1
            pause_s = self.behaviour.pause_s if not failures else self._retry_s(failures)
            await asyncio.sleep(pause_s / self._speed_up)

    async def poll(self) -> int:
        """Poll once, and return the status; 0 if there was no answer in time."""
        headers = CIMultiDict({"Cookie": f"instance={self.cookie}"})
        headers["Connection"] = "keep-alive" if self.behaviour.keep_alive else "close"
        query = f"?lastMessage={self.last}" if self.last >= 0 else ""
        try:
            async with asyncio.timeout(self.behaviour.wait_s):
                status, _, body = await self._send("GET", f"/nextMessage/{self.instance}{query}", headers)
        except (aiohttp.ClientError, OSError, TimeoutError):
            status, body = 0, b""
        self.statuses.append(status)
        if status == 200:
            self._take(body)
        elif self.behaviour.forgets:
            self._forget(status)
        return status

    async def wait(self, count: int, timeout_s: float = 30.0) -> list[Received]:
        """Wait until `count` messages were received. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while len(self.received) < count:
                self._more.clear()
                await self._more.wait()
        return list(self.received)

    def _take(self, body: bytes) -> None:
        message = json.loads(body)
        app = next((app for app, token in self.tokens.items() if token == message["token"]), None)
        if app is None or message["id"] > self.behaviour.id_max:
            return  # not acknowledged: the service repeats it
        received = Received(message["id"], app, message["data"])
        self.received.append(received)
        if self._on_message is not None:
            self._on_message(received)
        self.last = received.message_id  # only after the app has received it
        self._more.set()

    def _forget(self, status: int) -> None:
        if status in (401, 404):
            self.cookie = ""
            for app in tuple(self.tokens):
                self._end(app)
        if status == 404:
            self.instance = ""

    def _retry_s(self, failures: int) -> float:
        return min(self.behaviour.retry_s * 2.0 ** (failures - 1), self.behaviour.retry_max_s)

    # -- requests --------------------------------------------------------------------------------------------

    def _registration(self, app: str) -> str:
        return f"/registrations/{self.instance}/{self._user}/{app}"

    async def _call(self, method: str, path: str) -> tuple[int, CIMultiDict[str], bytes]:
        headers = CIMultiDict({"Authorization": self._authorization, "Connection": "keep-alive"})
        own = f"instance={self.cookie}"
        if not self.cookie:
            headers.add("Cookie", self._session)
        elif self.behaviour.joined:
            headers.add("Cookie", f"{own},{self._session}")
        else:
            headers.add("Cookie", own)
            headers.add("Cookie", self._session)
        return await self._send(method, path, headers)

    async def _send(
        self, method: str, path: str, headers: CIMultiDict[str]
    ) -> tuple[int, CIMultiDict[str], bytes]:
        if self._http is None:
            raise RegistrationRefused("the device is not switched on")
        async with self._http.request(method, self._url + path, headers=headers) as answer:
            return answer.status, CIMultiDict(answer.headers), await answer.read()


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _expect(status: int, wanted: int, body: bytes) -> dict[str, Any]:
    if status != wanted:
        raise RegistrationRefused(f"{_ERRORS.get(status, 'SERVICE_NOT_AVAILABLE')} ({status})")
    found: dict[str, Any] = json.loads(body) if body else {}
    return found
