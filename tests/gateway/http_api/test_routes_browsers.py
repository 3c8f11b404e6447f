"""Answers in a browser: each has its content type, and stored markup is not interpreted."""

import json
from typing import Any
from urllib.parse import quote

import pytest
from redis.asyncio import Redis

from gateway.http_api.context import HandlerContext
from gateway.http_api.routes import routes
from gateway.settings import Settings
from gateway.settings.model import Source
from tests.gateway.http_api.harness import PING, TOKEN, Answer, House, call, house, wire

MARKUP = "<script>alert('&')</script>"
CLIENT = "c0" * 16


def is_safe(answer: Answer) -> bool:
    policy = answer.headers.get("content-security-policy")
    return (answer.headers.get("x-content-type-options"), policy) == (
        "nosniff",
        "default-src 'none'; frame-ancestors 'none'",
    )


async def test_every_route_answers_with_the_safety_headers(both: House) -> None:
    checked = 0
    for route in routes(HandlerContext(both.services)):
        for token in (TOKEN, None):
            answer = await call(both, {"user_id": "bob"}, method=route.method, path=route.path, token=token)
            assert is_safe(answer), (route.method, route.path, answer)
            checked += 1
    assert checked > 60


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PATCH /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"no HTTP at all\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nbroken header\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nExpect: the-unexpected\r\n\r\n",
        b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" % (b"a" * 9_000),
        b"POST /rc/v1/users HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n" % PING.encode(),
        b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n{"
        % PING.encode(),
    ],
)
async def test_every_refusal_has_the_safety_headers(both: House, sent: bytes) -> None:
    async with wire(both.port) as connection:
        connection.send(sent)
        answer = await connection.answer()
    assert answer.status >= 400
    assert is_safe(answer), answer
    assert not answer.headers["content-type"].startswith("text/html")


async def test_a_failure_of_the_gateway_has_the_safety_headers(
    api: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any) -> None:
        raise RuntimeError("defect")

    monkeypatch.setattr(api.reports, "report", fail)
    answer = await call(api, method="GET", path="/rc/v1/pings/abc")
    assert (answer.status, is_safe(answer)) == (500, True)


@pytest.mark.parametrize("older", [False, True])
async def test_stored_markup_is_no_markup(api: House, redis_client: Redis, older: bool) -> None:
    body = {"attributes": {"login": MARKUP, "password": "secret"}}
    assert (await call(api, body, path="/rc/v1/users")).status == 200
    user = quote(MARKUP, safe="")
    changed = await call(api, {"attributes": {"email": MARKUP}}, method="PUT", path=f"/rc/v1/users/{user}")
    assert changed.status == 200
    fields = {"device_type": MARKUP, "phone_id": MARKUP, "device_pin": MARKUP, "user_id": MARKUP}
    await call(api, fields, path=f"/rc/v1/clients/{CLIENT}/register")
    await redis_client.sadd(f"user:{MARKUP}:clients", MARKUP)  # an id that RhoConnect took
    new = [
        ("GET", "/rc/v1/users", {}),
        ("GET", f"/rc/v1/users/{user}", {}),
        ("GET", f"/rc/v1/users/{user}/clients", {}),
        ("GET", f"/rc/v1/clients/{CLIENT}", {}),
    ]
    old = [
        ("POST", "/api/user/list_users", {}),
        ("POST", "/api/list_clients", {"user_id": MARKUP}),
        ("POST", "/api/get_client_params", {"client_id": CLIENT}),
    ]
    for method, path, parameters in old if older else new:
        answer = await call(api, parameters or b"", method=method, path=path)
        assert answer.status == 200
        assert answer.headers["content-type"] == "text/html;charset=utf-8"
        assert b"\\u003cscript\\u003ealert('\\u0026')" in answer.body
        assert not set(answer.body) & set(b"<>&")
        assert MARKUP in json.dumps(answer.json)


async def test_the_names_of_sources_are_no_markup(redis_client: Redis) -> None:
    async with house(redis_client, settings=Settings(sources={MARKUP: Source()})) as api:
        answer = await call(api, method="GET", path="/rc/v1/sources/type/all")
    assert (answer.json, set(answer.body) & set(b"<>&")) == ([MARKUP], set())


async def test_what_is_refused_in_words_is_text(api: House) -> None:
    body = {"login": MARKUP, "password": "x"}
    for path in ("/rc/v1/system/login", "/rc/v1/app/login", "/login", "/application/clientlogin"):
        answer = await call(api, body, path=path, token=None)
        assert (answer.status, answer.headers["content-type"]) == (401, "text/plain; charset=utf-8")
        assert is_safe(answer)


async def test_reasons_of_a_provider_are_no_markup(both: House) -> None:
    both.reports.finished = {"devices": [{"provider": "fcm", "reason": MARKUP}]}
    answer = await call(both, {"user_id": "bob", "wait": True})
    assert (answer.status, answer.headers["content-type"]) == (500, "text/html;charset=utf-8")
    assert answer.body == b"fcm: &lt;script&gt;alert('&amp;')&lt;/script&gt;"
