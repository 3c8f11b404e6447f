"""Requests in the forms that clients send: paths, ids, long heads, broken bodies."""

from urllib.parse import quote

import pytest

from tests.gateway.http_api.harness import PING, House, call, request, wire

BODY = b'{"user_id":"a"}'
LOGINS = [
    "{x}",
    "{",
    "a/b",
    "a b",
    "a+b",
    "ü",
    "..",
    ".",
    "a:b",
    "a%20b",
    "a%2Fb",
    "100%",
    "a?b#c",
    "//",
    "ping",
    "<x>",
    'a"b',
    "a\\b",
    "a|b^c`d",
    "[x]",
    "x@example.com",
    "é" * 10,
    "\U0001f600",
    "*",
    "a&b=c;d",
    "%",
    "%%7B",
]


@pytest.mark.parametrize(
    "path", ["/{}", "//{}", "http://gateway{}", "http://gateway/{}", "HTTP://gateway//{}"]
)
async def test_a_base_url_may_end_in_slashes(both: House, path: str) -> None:
    assert (await call(both, BODY, path=path.format(PING))).status == 200
    assert both.queue.pings[0].users == ("a",)


@pytest.mark.parametrize("path", ["/rc//v1/users/ping", "/rc/v1///users//ping", "/rc/v1/users/%70ing"])
async def test_a_run_of_slashes_is_one(both: House, path: str) -> None:
    assert (await call(both, BODY, path=path)).status == 200


@pytest.mark.parametrize(
    "path",
    [
        f"{PING}/",
        f"{PING}//",
        "/x/..//rc/v1/users/ping",
        "/rc/v1/users%2Fping",
        "/%2Frc/v1/users/ping",
        f"//gateway{PING}",
    ],
)
async def test_other_paths_are_no_ping(both: House, path: str) -> None:
    assert (await call(both, BODY, path=path)).status == 404
    assert not both.queue.pings


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/rc/v1/users"),
        ("DELETE", "/rc/v1/users/bob"),
        ("GET", "/rc/v1/clients/c"),
        ("POST", "/rc/v1/users"),
    ],
)
async def test_slashes_open_no_way_past_the_token(both: House, method: str, path: str) -> None:
    for way in (path, f"/{path}", path.replace("/v1/", "//v1//")):
        assert (await call(both, method=method, path=way, token="wrong")).status == 422, way


async def test_a_query_is_kept_beside_slashes(both: House) -> None:
    assert (await call(both, path=f"/{PING}?user_id=a%2Fb//c&message=x+y")).status == 200
    ping = both.queue.pings[0]
    assert (ping.users, ping.message) == (("a/b//c",), "x y")


@pytest.mark.parametrize("login", LOGINS)
async def test_a_login_in_a_path_is_decoded_once(both: House, login: str) -> None:
    made = {"attributes": {"login": login, "password": "secret"}}
    assert (await call(both, made, path="/rc/v1/users")).status == 200
    path = f"/rc/v1/users/{quote(login, safe='')}"
    shown = await call(both, method="GET", path=path)
    assert shown.status == 200
    assert {"name": "login", "value": login} == {
        name: row[name] for row in shown.json if row["name"] == "login" for name in ("name", "value")
    }
    assert (await call(both, method="GET", path=f"/{path}/clients")).json == []
    assert (await call(both, method="DELETE", path=path)).status == 200
    assert (await call(both, method="GET", path=path)).status == 404


@pytest.mark.parametrize("login", ["{x}", "ü/%", "a b", "plain"])
async def test_any_escape_of_a_login_names_it(both: House, login: str) -> None:
    made = {"attributes": {"login": login, "password": "secret"}}
    assert (await call(both, made, path="/rc/v1/users")).status == 200
    upper = "".join(f"%{byte:02X}" for byte in login.encode())
    for escaped in (upper, upper.lower(), quote(login, safe="").lower()):
        assert (await call(both, method="GET", path=f"/rc/v1/users/{escaped}/clients")).json == [], escaped


@pytest.mark.parametrize("login", ["{x}", "a+b", "a:b", "a;b", "a|b", "~a!$&'()*,=@"])
async def test_a_login_may_stand_in_a_path_as_it_is(both: House, login: str) -> None:
    made = {"attributes": {"login": login, "password": "secret"}}
    assert (await call(both, made, path="/rc/v1/users")).status == 200
    assert (await call(both, method="GET", path=f"/rc/v1/users/{login}/clients")).json == []


# -- heads -----------------------------------------------------------------------------------------------------------


# -- broken bodies ---------------------------------------------------------------------------------------------------


# -- the rest of the head ----------------------------------------------------------------------------------------------


async def test_an_expectation_that_is_not_understood_is_417(both: House) -> None:
    answer = await call(both, BODY, headers={"Expect": "coffee"})
    assert (answer.status, answer.error["code"]) == (417, "expectation_refused")
    assert not both.queue.pings


@pytest.mark.parametrize("host", ["", "a b", "[::1]:80"])
async def test_any_host_is_served(both: House, host: str) -> None:
    assert (await call(both, BODY, headers={"Host": host})).status == 200


async def test_http_1_0_may_keep_its_connection(both: House) -> None:
    old = request(BODY, headers={"Connection": "keep-alive"}).replace(b"HTTP/1.1", b"HTTP/1.0", 1)
    async with wire(both.port) as client:
        client.send(old + old)
        for _ in range(2):
            answer = await client.answer()
            assert (answer.status, answer.headers["connection"]) == (200, "keep-alive")


@pytest.mark.parametrize("method", ["OPTIONS", "PATCH", "LOCK"])
async def test_other_methods_are_no_ping(both: House, method: str) -> None:
    assert (await call(both, BODY, method=method)).status == 404
    assert not both.queue.pings


async def test_a_path_without_a_route_is_named_as_it_was_sent(api: House) -> None:
    answer = await call(api, path="/rc%2Fv1/users/ping?api_token=secret")
    assert answer.error["message"] == "there is no route POST /rc%2Fv1/users/ping"
