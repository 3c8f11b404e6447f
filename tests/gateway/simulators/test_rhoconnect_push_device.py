"""Simulated RhoConnect Push devices send the requests of the real ones, and react to each response as they do."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from gateway.simulators import ANDROID, WINDOWS, RhoConnectPushDevice
from gateway.simulators.rhoconnect_push_device import DeviceBehaviour, RegistrationRefused

INSTANCE, COOKIE, TOKEN = "in-st:1", "co-ok:2", "to-ken:3"
FLAVOURS = pytest.mark.parametrize("behaviour", [ANDROID, WINDOWS], ids=["android", "windows"])


class Service:
    """Gives the scripted responses; records each request's line, cookies and credentials."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[tuple[str, list[str], str, str]] = []
        self.answers: dict[str, list[tuple[int, Any]]] = {}

    async def answer(self, request: web.Request) -> web.Response:
        line = f"{request.method} {request.path_qs}"
        headers = request.headers
        cookies = headers.getall("Cookie", [])
        self.requests.append((line, cookies, headers.get("Authorization", ""), headers.get("Connection", "")))
        kind = request.path.split("/")[1]
        told = self.answers.get(kind)
        status, body = told.pop(0) if told else self._good(request.method, kind)
        extra = {"Set-Cookie": f"instance={COOKIE}; x"} if status == 204 and kind == "instanceId" else {}
        return web.Response(status=status, body=body and json.dumps(body), headers=extra)

    def _good(self, method: str, kind: str) -> tuple[int, Any]:
        if kind == "instanceId":
            return (200, {"instance": INSTANCE}) if method == "POST" else (204, None)
        if kind == "registrations":
            return {"PUT": (201, {"token": TOKEN}), "GET": (200, {"token": TOKEN})}.get(method, (204, None))
        return 204, None


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    made = Service()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", made.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


def device(service: Service, behaviour: DeviceBehaviour) -> RhoConnectPushDevice:
    return RhoConnectPushDevice(service.url, "u", "p", "s=1", behaviour=behaviour, speed_up=1000.0)


@FLAVOURS
async def test_the_calls_of_a_registration(service: Service, behaviour: DeviceBehaviour) -> None:
    async with device(service, behaviour) as phone:
        assert await phone.register("app") == TOKEN
        assert await phone.check("app")
        await phone.unregister("app")
        await phone.poll()
    both = [f"instance={COOKIE},s=1"] if behaviour is WINDOWS else [f"instance={COOKIE}", "s=1"]
    basic, keep = "Basic dTpw", "keep-alive"
    registration = f"/registrations/{INSTANCE}/u/app"
    assert service.requests == [
        ("POST /instanceId", ["s=1"], basic, keep),
        (f"GET /instanceId/{INSTANCE}", ["s=1"], basic, keep),
        (f"PUT {registration}", both, basic, keep),
        (f"GET {registration}", both, basic, keep),
        (f"DELETE {registration}", both, basic, keep),
        (
            f"GET /nextMessage/{INSTANCE}",
            [f"instance={COOKIE}"],
            "",
            keep if behaviour is ANDROID else "close",
        ),
    ]


@pytest.mark.parametrize(
    ("kind", "answer", "word"),
    [
        ("instanceId", (401, None), "UNAUTHORIZED"),
        ("instanceId", (503, None), "SERVICE_NOT_AVAILABLE"),
        ("registrations", (200, {"token": TOKEN}), "SERVICE_NOT_AVAILABLE"),
        ("registrations", (404, None), "APP_NOT_REGISTERED"),
    ],
)
async def test_the_apps_error_after_a_refusal(
    service: Service, kind: str, answer: tuple[int, Any], word: str
) -> None:
    service.answers[kind] = [answer]
    async with device(service, ANDROID) as phone:
        with pytest.raises(RegistrationRefused, match=word):
            await phone.register("app")


@FLAVOURS
async def test_a_message_is_acknowledged_after_the_app_has_it(
    service: Service, behaviour: DeviceBehaviour
) -> None:
    message = {"id": 7, "token": TOKEN, "data": {"alert": "hello"}}
    service.answers["nextMessage"] = [(200, message), (200, {**message, "token": "strange"}), (204, None)]
    async with device(service, behaviour) as phone:
        await phone.register("app")
        phone.tokens["app"] = TOKEN
        seen = [await phone.poll() for _ in range(3)]
    polls = [line for line, *_ in service.requests if "nextMessage" in line]
    assert polls == [
        f"GET /nextMessage/{INSTANCE}{query}" for query in ("", "?lastMessage=7", "?lastMessage=7")
    ]
    assert [found.data for found in phone.received] == [{"alert": "hello"}]
    assert seen == [200, 200, 204]


async def test_a_windows_device_cannot_hold_a_long_id(service: Service) -> None:
    service.answers["nextMessage"] = [(200, {"id": 2**31, "token": TOKEN, "data": {}})]
    async with device(service, WINDOWS) as phone:
        await phone.register("app")
        await phone.poll()
    assert (phone.received, phone.last) == ([], -1)


@pytest.mark.parametrize(
    ("behaviour", "status", "forgotten"),
    [
        (ANDROID, 401, (INSTANCE, "", {})),
        (ANDROID, 404, ("", "", {})),
        (ANDROID, 410, (INSTANCE, COOKIE, {"app": TOKEN})),
        (WINDOWS, 401, (INSTANCE, COOKIE, {"app": TOKEN})),
        (WINDOWS, 404, (INSTANCE, COOKIE, {"app": TOKEN})),
    ],
)
async def test_the_registrations_that_a_device_removes(
    service: Service, behaviour: DeviceBehaviour, status: int, forgotten: tuple[str, str, dict[str, str]]
) -> None:
    service.answers["nextMessage"] = [(status, None)]
    async with device(service, behaviour) as phone:
        await phone.register("app")
        await phone.poll()
    assert (phone.instance, phone.cookie, phone.tokens) == forgotten


@FLAVOURS
async def test_it_polls_on_after_failures(service: Service, behaviour: DeviceBehaviour) -> None:
    message = {"id": 7, "token": TOKEN, "data": {}}
    service.answers["nextMessage"] = [(503, None), (500, None), (200, message)]
    async with device(service, behaviour) as phone:
        await phone.register("app")
        polling = asyncio.create_task(phone.run())
        assert [found.message_id for found in await phone.wait(1)] == [7]
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)
    assert phone.statuses[:3] == [503, 500, 200]


async def test_a_start_checks_each_registration_and_sends_nothing_after_401(service: Service) -> None:
    """Android's TokenChecker (contract §9.1)."""
    async with device(service, ANDROID) as phone:
        for app in ("kept", "gone", "refused"):
            await phone.register(app)
        service.requests.clear()
        service.answers["registrations"] = [(200, {"token": "t:2"}), (404, None), (401, None)]
        await phone.start()
    assert phone.tokens == {"kept": "t:2", "refused": TOKEN}
    assert phone.statuses_of_checks == [200, 404, 401]
    lines = [line.replace(f"/registrations/{INSTANCE}/u/", "") for line, *_ in service.requests]
    assert lines == ["GET kept", "GET gone", "GET refused"]


async def test_an_android_device_never_recovers_from_a_401_to_its_poll(service: Service) -> None:
    """It requests a cookie only together with an id (contract §9.2)."""
    service.answers["nextMessage"] = [(401, None)]
    async with device(service, ANDROID) as phone:
        await phone.register("app")
        await phone.poll()
        service.requests.clear()
        with pytest.raises(RegistrationRefused, match="without a cookie"):
            await phone.register("app")
    assert service.requests == []


async def test_an_android_device_drops_a_new_id_without_a_cookie_after_404_alone(service: Service) -> None:
    service.answers["instanceId"] = [(200, {"instance": INSTANCE}), (404, None)]
    async with device(service, ANDROID) as phone:
        with pytest.raises(RegistrationRefused, match="APP_NOT_REGISTERED"):
            await phone.register("app")
        assert phone.instance == ""
        service.answers["instanceId"] = [(200, {"instance": INSTANCE}), (503, None)]
        with pytest.raises(RegistrationRefused, match="SERVICE_NOT_AVAILABLE"):
            await phone.register("app")
        assert (phone.instance, phone.cookie) == (INSTANCE, "")


@FLAVOURS
async def test_a_registration_that_is_known_is_looked_up(
    service: Service, behaviour: DeviceBehaviour
) -> None:
    service.answers["registrations"] = [(201, {"token": TOKEN}), (200, {"token": "t:2"})]
    async with device(service, behaviour) as phone:
        await phone.register("app")
        assert await phone.register("app") == "t:2"
        phone.change_user("eve", "pw", "s=2")
        await phone.register("app")
    lines = [line.replace(f"/registrations/{INSTANCE}/", "") for line, *_ in service.requests[-3:]]
    assert lines == ["PUT u/app", "GET u/app", "PUT eve/app"]


@FLAVOURS
async def test_the_last_message_is_forgotten_with_the_last_registration(
    service: Service, behaviour: DeviceBehaviour
) -> None:
    async with device(service, behaviour) as phone:
        await phone.register("one")
        await phone.register("two")
        phone.last = 7
        await phone.unregister("one")
        assert phone.last == 7
        await phone.unregister("two")
        assert phone.last == -1


async def test_a_windows_device_repeats_a_registration_for_ever(service: Service) -> None:
    service.answers["registrations"] = [(401, None), (404, None), (503, None)]
    async with device(service, WINDOWS) as phone:
        assert await phone.enrol("app") == TOKEN
    assert [line.split()[0] for line, *_ in service.requests] == ["POST", "GET", "PUT", "PUT", "PUT", "PUT"]


async def test_an_android_device_tries_a_registration_once(service: Service) -> None:
    service.answers["registrations"] = [(401, None)]
    async with device(service, ANDROID) as phone:
        with pytest.raises(RegistrationRefused, match="UNAUTHORIZED"):
            await phone.enrol("app")
        assert (phone.instance, phone.cookie) == (INSTANCE, COOKIE)


@FLAVOURS
async def test_another_user_and_another_server_find_the_instance_and_cookie_that_are_there(
    service: Service, behaviour: DeviceBehaviour
) -> None:
    async with RhoConnectPushDevice("http://127.0.0.1:1", "u", "p", "s=1", behaviour=behaviour) as phone:
        phone.move(service.url)
        await phone.register("app")
        service.requests.clear()
        phone.change_user("eve", "pw", "s=2")
        await phone.register("app")
    ((line, cookies, authorization, _),) = service.requests
    assert line == f"PUT /registrations/{INSTANCE}/eve/app"
    assert cookies == ([f"instance={COOKIE},s=2"] if behaviour is WINDOWS else [f"instance={COOKIE}", "s=2"])
    assert authorization == "Basic ZXZlOnB3"
