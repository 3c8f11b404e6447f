"""RhoConnect's REST surface, row by row: every route of contract §2, §2.1 and §2.2 with its older names.

The rows run in order over one store: each makes what the next ones look at.
"""

import base64
from typing import Any, NamedTuple

import pytest
from redis.asyncio import Redis

from gateway.http_api.context import HandlerContext
from gateway.http_api.routes import routes
from gateway.settings import Secret, Settings, Source
from tests.gateway.http_api.harness import House, call, house

SETTINGS = Settings(
    push_server=Secret("http://someapp:pass@localhost:8675/"),
    sources={"Product": Source(), "News": Source("app")},
)
HTML, JSON, PLAIN = "text/html;charset=utf-8", "application/json; charset=utf-8", "text/plain; charset=utf-8"
NAMES = [
    *("rho__id", "device_type", "device_push_type", "device_pin", "device_port", "device_app_id"),
    *("device_app_version", "phone_id", "user_id", "last_sync", "app_id"),
]
CID = "c" * 32
PHONE = {"device_type": "APPLE", "device_push_type": "apple", "device_pin": "ab" * 32, "device_port": "100"}
ANN, BOB = ({"attributes": {"login": login, "password": "secret"}} for login in ("ann", "bob"))
LOGIN = {"login": "ann", "password": "secret", "remember_me": 1}


class Row(NamedTuple):
    """A call and its answer. `body`: bytes as they are, else JSON; None: not looked at.

    `who`: the caller has the API token, a device's session, or nothing; `basic`: Basic credentials.
    """

    method: str
    path: str
    sent: Any
    status: int
    kind: str
    body: Any
    who: str = "token"
    basic: str = ""


ROWS = [
    Row("POST", "/rc/v1/users", ANN, 200, HTML, b"User created"),
    Row("POST", "/api/create_user", BOB, 200, HTML, b"User created"),
    Row("POST", "/rc/v1/users", ANN, 500, PLAIN, b"Record already exists for 'ann'"),
    Row("POST", "/rc/v1/users", {"attributes": {}}, 500, PLAIN, b"Empty login"),
    Row("POST", "/rc/v1/users", ANN, 422, PLAIN, b"No API token provided", who=""),
    Row("DELETE", "/rc/v1/users/bob", None, 200, HTML, b"User deleted"),
    Row("GET", "/rc/v1/users", None, 200, HTML, ["ann"]),
    Row("GET", "/rc/v1/users/", None, 200, HTML, ["ann"]),
    Row("POST", "/api/list_users", {}, 200, HTML, ["ann"]),
    Row("POST", "/api/user/list_users", {}, 200, HTML, ["ann"]),
    Row("GET", "/rc/v1/users/ann", None, 200, HTML, None),
    Row("PUT", "/rc/v1/users/ann", {"attributes": {"email": "a@b.c"}}, 200, HTML, b"User updated"),
    Row(
        "POST",
        "/rc/v1/app/login",
        {**LOGIN, "password": "x"},
        401,
        PLAIN,
        b"Unable to authenticate 'ann'",
        "",
    ),
    Row("POST", "/application/clientlogin", LOGIN, 200, HTML, b"", ""),
    Row("POST", "/api/application/clientlogin", LOGIN, 200, HTML, None, ""),
    Row("POST", "/rc/v1/app/login", LOGIN, 200, HTML, b"", "begins a session"),
    Row("POST", "/rc/v1/clients", {}, 401, PLAIN, b"Not authenticated", ""),
    Row("POST", "/rc/v1/clients", {}, 200, JSON, None, "session"),
    Row("GET", "/application/clientcreate", None, 200, JSON, None, "session"),
    Row("GET", "/api/application/clientcreate", None, 200, JSON, None, "session"),
    Row("POST", f"/rc/v1/clients/{CID}/register", PHONE, 200, HTML, b"", "session"),
    Row(
        "POST", "/application/clientregister", {"client_id": CID, "phone_id": "p"}, 200, HTML, b"", "session"
    ),
    Row("POST", "/api/application/clientregister", {"client_id": CID}, 200, HTML, b"", "session"),
    Row("GET", "/rc/v1/users/ann/clients", None, 200, HTML, None),
    Row("POST", "/api/list_clients", {"user_id": "ann"}, 200, HTML, None),
    Row("POST", "/api/client/list_clients", {"user_id": "ann"}, 200, HTML, None),
    Row("GET", f"/rc/v1/clients/{CID}", None, 200, HTML, None),
    Row("POST", "/api/get_client_params", {"client_id": CID}, 200, HTML, None),
    Row("POST", "/api/client/get_client_params", {"client_id": CID}, 200, HTML, None),
    Row("DELETE", f"/rc/v1/users/ann/clients/{CID}", None, 200, HTML, b"Client deleted"),
    Row("GET", "/rc/v1/sources/type/user", None, 200, HTML, ["Product"]),
    Row("GET", "/rc/v1/sources/type/app", None, 200, HTML, ["News"]),
    Row("GET", "/rc/v1/sources/type/all", None, 200, HTML, ["Product", "News"]),
    Row("POST", "/rc/v1/system/login", LOGIN, 422, PLAIN, b"Invalid/missing API user", ""),
    Row("POST", "/login", {}, 401, PLAIN, b"Unable to authenticate ''", ""),
    Row("POST", "/api/admin/login", {"login": "x"}, 401, PLAIN, b"Unable to authenticate 'x'", ""),
    Row("POST", "/rc/v1/users/ping", {"user_id": "ann"}, 200, HTML, b""),
    Row("POST", "/rc/v1/users%20/ping", {"user_id": "ann"}, 200, HTML, b""),
    Row("POST", "/api/ping", {"user_id": "ann"}, 200, HTML, b""),
    Row("POST", "/api/client/ping", {"user_id": "ann"}, 200, HTML, b""),
    Row("GET", "/rc/v1/system/rps_login", None, 204, "", b"", "", "someapp:pass"),
    Row(
        "GET",
        "/rc/v1/system/rps_login",
        None,
        401,
        HTML,
        b"Invalid RhoConnect Push server credentials",
        "",
        "x:y",
    ),
    Row("GET", "/rc/v1/system/rps_login", None, 401, HTML, b"Invalid Basic Authorization header", ""),
    Row("GET", "/rc/v1/app/rps_login", None, 204, "", b"", "session", "anyone:secret"),
    Row("GET", "/rc/v1/app/rps_login", None, 401, HTML, b"", "session"),
    Row("GET", "/rc/v1/app/rps_login", None, 401, PLAIN, b"Not authenticated", "", "ann:secret"),
    Row("GET", "/rc/v1/app/ans_login", None, 204, "", b"", "session", "ann:secret"),
    Row("GET", "/ans/login", None, 204, "", b"", "session", "ann:secret"),
]


def headers_of(row: Row, session: str) -> dict[str, str]:
    headers = {"Cookie": session} if row.who == "session" else {}
    if row.basic:
        headers["Authorization"] = "Basic " + base64.b64encode(row.basic.encode()).decode()
    return headers


async def check(api: House, row: Row, session: str, deprecated: bool) -> str:
    """Call a row's route and hold the answer against it; the session that it began, if it did."""
    more = {} if row.who == "token" else {"token": None}
    body = b"" if row.sent is None else row.sent
    found = await call(api, body, method=row.method, path=row.path, headers=headers_of(row, session), **more)
    what = f"{row.method} {row.path} {row.who}: {found.body!r}"
    assert (found.status, found.headers.get("content-type", "")) == (row.status, row.kind), what
    if isinstance(row.body, bytes):
        assert found.body == row.body, what
    elif row.body is not None:
        assert found.json == row.body, what
    words = f"Use of the {row.method} {row.path} is deprecated. Use Rhoconnect API v1 instead."
    if row.status < 400:
        assert found.headers.get("warning") == (words if deprecated else None), what
    return found.headers["set-cookie"].partition(";")[0] if row.who == "begins a session" else session


async def test_every_row_answers_as_rhoconnect(redis_client: Redis) -> None:
    async with house(redis_client, settings=SETTINGS) as api:
        old = {
            (route.method, route.path) for route in routes(HandlerContext(api.services)) if route.deprecated
        }
        session = ""
        for row in ROWS:
            session = await check(api, row, session, (row.method, row.path) in old)
        assert len(api.queue.pings) == 4


async def test_a_clients_fields_stand_in_rhoconnects_order(redis_client: Redis) -> None:
    async with house(redis_client, settings=SETTINGS) as api:
        session = ""
        for row in ROWS[:21]:
            session = await check(api, row, session, row.path.startswith(("/api/", "/application/")))
        shown = (await call(api, method="GET", path=f"/rc/v1/clients/{CID}")).json
        assert [field["name"] for field in shown] == NAMES
        values = {field["name"]: field["value"] for field in shown}
        assert values["device_pin"] == "ab" * 32
        assert (values["user_id"], values["phone_id"], values["last_sync"]) == ("ann", None, None)


async def test_every_older_name_has_its_row(api: House) -> None:
    old = {(route.method, route.path) for route in routes(HandlerContext(api.services)) if route.deprecated}
    assert len(old) == 19
    assert old <= {(row.method, row.path) for row in ROWS}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/rc/v1/system/reset"),
        ("GET", "/rc/v1/system/stats"),
        ("GET", "/rc/v1/system/license"),
        ("POST", "/rc/v1/clients/C/reset"),
        ("GET", "/rc/v1/sources/Product"),
        ("GET", "/rc/v1/users/ann/sources/Product/docnames"),
        ("GET", "/rc/v1/store/key"),
        ("POST", "/app/v1/Product/push_objects"),
        ("POST", "/api/update_user"),
        ("POST", "/api/delete_user"),
        ("POST", "/api/delete_client"),
    ],
)
async def test_rhoconnects_other_routes_are_not_here(api: House, method: str, path: str) -> None:
    answer = await call(api, {}, method=method, path=path)
    assert (answer.status, answer.error["code"]) == (404, "not_found")
