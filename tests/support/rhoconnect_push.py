"""A replacement for rhoconnect-push: its routes, ids and keys, written from contract §9 without any code of the
product.

It shows the behaviour of a device's service when it is switched to the gateway and back. Polls do not wait: an empty
queue is answered with 204 immediately.
"""

import base64
import contextlib
import hashlib
import json
import re
import uuid
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web
from redis.asyncio import Redis

_COOKIE = re.compile(r"instance=([a-zA-Z0-9|:-]+)")


class RhoconnectPush:
    """One server.

    Args:
        redis: the Redis of its registrations and queues.
        user_auth_url: RhoConnect's route that authenticates users.
    """

    def __init__(self, redis: Redis, user_auth_url: str) -> None:
        self._redis = redis
        self._user_auth_url = user_auth_url
        self.url = ""

    async def create(self, request: web.Request) -> web.Response:
        if not await self._user(request):
            return web.Response(status=401)
        return web.json_response({"instance": made("instance", user_of(request))})

    async def cookie(self, request: web.Request) -> web.Response:
        instance = request.match_info["instance"]
        if not await self._user(request):
            return web.Response(status=401)
        if not verified("instance", instance, user_of(request)):
            return web.Response(status=404)
        return web.Response(status=204, headers={"Set-Cookie": f"instance={made('cookie', instance)}"})

    async def registration(self, request: web.Request) -> web.Response:
        instance, app = request.match_info["instance"], request.match_info["app"]
        if not has_cookie(request, instance) or not await self._user(request):
            return web.Response(status=401)
        if request.match_info["user"] != user_of(request):
            return web.Response(status=401)
        held = [json.loads(member) for member in await self._redis.smembers(f"reg:{instance}")]
        token = next((entry["token"] for entry in held if entry["appname"] == app), None)
        if request.method == "PUT":
            return web.json_response({"token": token or await self._register(instance, app)}, status=201)
        if token is None:
            return web.Response(status=404)
        if request.method == "GET":
            return web.json_response({"token": token})
        member = json.dumps({"token": token, "appname": app}, separators=(",", ":"))
        await self._redis.srem(f"reg:{instance}", member)
        await self._redis.delete(f"tok:{token}")
        if len(held) == 1:
            await self._redis.delete(*(f"{kind}:{instance}" for kind in ("cnt", "que", "col")))
        return web.Response(status=204)

    async def poll(self, request: web.Request) -> web.Response:
        instance = request.match_info["instance"]
        if not has_cookie(request, instance):
            return web.Response(status=401)
        if not await self._redis.exists(f"reg:{instance}"):
            return web.Response(status=404)
        last = int(request.query.get("lastMessage", "0"))
        for kind in ("que", "col"):
            await self._redis.zremrangebyscore(f"{kind}:{instance}", 0, last)
        lowest = await self._redis.zrange(f"que:{instance}", 0, 0)
        return web.Response(status=200, body=lowest[0]) if lowest else web.Response(status=204)

    async def post(self, request: web.Request) -> web.Response:
        token, app = request.match_info["token"], user_of(request)
        if not verified("token", token, app):
            return web.Response(status=401)
        kept = await self._redis.get(f"tok:{token}")
        if kept is None:
            return web.Response(status=404)
        instance = str(kept, "ascii") if isinstance(kept, bytes) else kept
        number = await self._redis.incr(f"cnt:{instance}")
        message = json.dumps({"id": number, "token": token, "data": (await request.json())["data"]})
        await self._redis.zadd(f"que:{instance}", {message: number})
        await self._redis.zadd(f"col:{instance}", {f"undefined:{app}": number})
        return web.Response(status=204)

    async def _register(self, instance: str, app: str) -> str:
        token = made("token", app)
        member = json.dumps({"token": token, "appname": app}, separators=(",", ":"))
        await self._redis.set(f"cnt:{instance}", 0)
        await self._redis.sadd(f"reg:{instance}", member)
        await self._redis.set(f"tok:{token}", instance)
        return token

    async def _user(self, request: web.Request) -> bool:
        cookies = "; ".join(request.headers.getall("Cookie", [])).replace(",", "; ")
        headers = {"Cookie": cookies, "Authorization": request.headers.get("Authorization", "")}
        async with (
            aiohttp.ClientSession() as session,
            session.get(self._user_auth_url, headers=headers) as answer,
        ):
            return answer.status == 204


def made(kind: str, owner: str) -> str:
    """An id as rhoconnect-push makes it: "instance" of a user, "cookie" of an instance, "token" of an app."""
    return _with_md5(kind, owner, str(uuid.uuid4()))


def verified(kind: str, text: str, owner: str) -> bool:
    """Whether rhoconnect-push accepts an id for this owner."""
    return text == _with_md5(kind, owner, text.split(":")[0])


def has_cookie(request: web.Request, instance: str) -> bool:
    """Whether a request has the cookie of this instance."""
    found = _COOKIE.search("; ".join(request.headers.getall("Cookie", [])))
    return found is not None and verified("cookie", found[1], instance)


def user_of(request: web.Request) -> str:
    """The name in the Basic credentials."""
    encoded = request.headers.get("Authorization", "").removeprefix("Basic ")
    return base64.b64decode(encoded).decode().split(":")[0]


def _with_md5(kind: str, owner: str, unique: str) -> str:
    return f"{unique}:{hashlib.md5(f'{owner}{unique}{kind}Secret'.encode()).hexdigest()}"


@contextlib.asynccontextmanager
async def rhoconnect_push(redis: Redis, user_auth_url: str) -> AsyncIterator[RhoconnectPush]:
    """A server on a free port of this machine."""
    server = RhoconnectPush(redis, user_auth_url)
    app = web.Application()
    app.router.add_post("/instanceId", server.create)
    app.router.add_get("/instanceId/{instance}", server.cookie)
    for method in ("PUT", "GET", "DELETE"):
        app.router.add_route(method, "/registrations/{instance}/{user}/{app}", server.registration)
    app.router.add_get("/nextMessage/{instance}", server.poll, allow_head=False)
    app.router.add_post("/messageQueue/{token}", server.post)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield server
    finally:
        await runner.cleanup()
