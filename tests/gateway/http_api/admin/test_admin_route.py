"""The part that all routes of operators have in common."""

from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from redis.asyncio import Redis

from gateway.errors import ApiTokenRefused
from gateway.http_api.admin.admin_route import PREFIX, AdminRoute, bind
from gateway.http_api.client_address import CLIENT_ADDRESSES, ClientAddresses
from gateway.http_api.context import HandlerContext
from gateway.registry.scopes import Scope
from gateway.simulators import ApnsSimulator, FcmSimulator
from gateway.store import keys
from tests.gateway.http_api.harness import TOKEN, house
from tests.gateway.http_api.openapi.test_document import validator, with_responses
from tests.support.providers import TOPIC, provider_settings
from tests.support.rhoconnect import apple, lay_user
from tests.support.worker import Worker, working

DEAD_PIN, CLIENT = "de" * 32, "e" * 32


async def show(_: web.Request, found: dict[str, Any]) -> object:
    return {"sent": sorted(found)}


async def test_a_route_authorizes_before_its_handler_runs(redis_client: Redis) -> None:
    async with house(redis_client) as one:
        context = HandlerContext(one.services)
        route = bind(context, AdminRoute("GET", "/things", Scope.READ, "Things", show, {}))
        assert (route.method, route.path, route.who) == ("GET", f"{PREFIX}/things", "operator")
        app = web.Application()
        app[CLIENT_ADDRESSES] = ClientAddresses(())
        headers = {"X-RhoConnect-API-TOKEN": TOKEN}
        answer = await route.handler(make_mocked_request("GET", "/things?a=1", headers=headers, app=app))
        assert isinstance(answer, web.Response)
        assert answer.body == b'{"sent":["a"]}'
        with pytest.raises(ApiTokenRefused):
            await route.handler(make_mocked_request("GET", "/things", app=app))
        await context.close()


class Described:
    """Sends requests to a worker, and compares each answer with the document of that worker.

    Args:
        worker: the worker.
        document: its document.
    """

    def __init__(self, worker: Worker, document: Any) -> None:
        self._worker = worker
        self._document = document
        self.succeeded: set[tuple[str, str]] = set()

    async def __call__(self, method: str, path: str, *, status: int = 200, **parts: Any) -> Any:
        """The JSON of the answer to one request; keywords are the parameters of the path, and `json`."""
        body = parts.pop("json", None)
        answer = await self._worker.request(method, PREFIX + path.format(**parts), json=body)
        assert answer.status == status, answer.body
        operation = self._document["paths"][PREFIX + path.partition("?")[0]][method.lower()]
        schema = operation["responses"][str(status)]["content"]["application/json"]["schema"]
        found = answer.json()
        errors = [error.message for error in validator(self._document, schema).iter_errors(found)]
        assert not errors, (method, path, found)
        if status == 200:
            self.succeeded.add((method, path.partition("?")[0]))
        return found


async def check_queue(ask: Described, redis: Redis) -> None:
    await ask("GET", "/queue")
    for method, path in (
        ("POST", "/queue/unreadable/{record}/requeue"),
        ("DELETE", "/queue/unreadable/{record}"),
    ):
        await redis.xadd(keys.PINGS, {"e": b"\xc1", "n": 1, "s": 10})
        records: list[Any] = []
        while not records:
            records = (await ask("GET", "/queue/unreadable"))["records"]
        record = records[0]["record"]
        await ask("GET", "/queue/unreadable/{record}", record=record)
        await ask(method, path, record=record)
        await ask(method, path, status=404, record=record)
    size = {"size": 200, "stream": keys.PINGS, "entry": "1-0", "reason": "too long", "at_ms": 5}
    long = (await redis.xadd(keys.UNREADABLE, size)).decode()
    await ask("POST", "/queue/unreadable/{record}/requeue", status=409, record=long)
    await ask("GET", "/queue/unreadable?cursor=x", status=400)


async def check_devices(ask: Described) -> None:
    while not (await ask("GET", "/dead"))["devices"]:
        pass
    (device,) = (await ask("GET", "/devices?user_id=eve"))["devices"]
    assert device["reason"] == "dead_token"
    await ask("GET", "/devices?user_id=nobody", status=404)
    await ask("POST", "/dead/restore", json={"devices": [CLIENT]})
    await ask("POST", "/dead/restore", json={}, status=400)


async def check_tokens(ask: Described) -> None:
    wanted = {"name": "ci", "scopes": ["read"], "apps": ["a"], "expires_at": "2100-01-31T09:30:00Z"}
    await ask("POST", "/tokens", json=wanted)
    await ask("POST", "/tokens", json=wanted, status=409)
    await ask("POST", "/tokens", json=wanted | {"name": ""}, status=400)
    await ask("GET", "/tokens")
    await ask("DELETE", "/tokens/{name}", name="ci")
    await ask("DELETE", "/tokens/{name}", name="ci", status=404)
    records = (await ask("GET", "/audit"))["records"]
    actions = [(record["action"], record["outcome"]) for record in records]
    assert (f"POST {PREFIX}/dead/restore {CLIENT}", "done") in actions


async def check_lanes_and_webhooks(ask: Described) -> None:
    lanes: list[Any] = []
    while not lanes:
        lanes = (await ask("GET", "/lanes"))["lanes"]
    await ask("POST", "/lanes/{lane}/reset", lane=lanes[0]["name"])
    await ask("POST", "/lanes/{lane}/reset", lane="none", status=404)
    assert (await ask("GET", "/webhooks"))["webhooks"]
    await ask("POST", "/webhooks/{name}/replay", name="log", json={"since": 1})
    await ask("POST", "/webhooks/{name}/replay", name="log", json={}, status=400)
    await ask("POST", "/webhooks/{name}/test", name="log")
    await ask("POST", "/webhooks/{name}/test", name="none", status=404)


async def test_every_route_answers_as_it_is_described(
    redis_address: str, redis_client: Redis, tmp_path: Path
) -> None:
    async with ApnsSimulator() as apns, FcmSimulator() as fcm:
        apns.faults.add(f"410:token={DEAD_PIN}")
        await lay_user(redis_client, "bob", [apple("ab" * 32)])
        await lay_user(redis_client, "eve", [apple(DEAD_PIN, client_id=CLIENT, device_app_id=TOPIC)])
        webhooks = {"log": {"url": f"file://{tmp_path}/events.ndjson", "events": ["lane.down"]}}
        settings = provider_settings(apns, fcm, webhooks=webhooks)
        async with working(tmp_path, redis_address, settings) as worker:
            document = with_responses((await worker.request("GET", "/openapi.json")).json())
            ask = Described(worker, document)
            for user in ("bob", "eve"):
                await worker.done(await worker.accepted(user))
            await check_devices(ask)
            await check_queue(ask, redis_client)
            await check_tokens(ask)
            await check_lanes_and_webhooks(ask)
    described = {
        (method.upper(), path.removeprefix(PREFIX))
        for path, operations in document["paths"].items()
        if path.startswith(PREFIX)
        for method in operations
    }
    assert ask.succeeded == described
