"""Other methods than POST on the ping's paths: RhoConnect has a user named `ping` there, and none of them pings."""

import pytest

from tests.gateway.http_api.harness import TOKEN, House, call, request, wire
from tests.gateway.http_api.test_devices import add

PATHS = ("/rc/v1/users/ping", "//rc/v1/users/ping")
OLD_PATHS = ("/api/ping", "/api/client/ping")


async def head(house: House, path: str, token: str | None = TOKEN, body: bytes = b"") -> tuple[int, bytes]:
    """The status of an answer to HEAD, and what came behind its head."""
    async with wire(house.port) as connection:
        connection.send(request(body, method="HEAD", path=path, token=token, headers={"Connection": "close"}))
        first, _, rest = (await connection.rest()).partition(b"\r\n\r\n")
    return int(first.split()[1]), rest


@pytest.mark.parametrize("path", PATHS)
async def test_get_and_head_show_the_user_of_that_name(api: House, path: str) -> None:
    missing = await call(api, method="GET", path=path, token=TOKEN)
    assert missing.status == 404  # RhoConnect: 500, as for every unknown user
    assert await head(api, path) == (404, b"")
    await add(api, "ping")
    found = await call(api, method="GET", path=path, token=TOKEN)
    assert found.status == 200
    assert {"name": "login", "value": "ping", "type": "string"} in found.json
    assert await head(api, path) == (200, b"")
    assert api.queue.pings == []


@pytest.mark.parametrize("path", PATHS)
async def test_get_and_head_need_the_token(api: House, path: str) -> None:
    await add(api, "ping")
    assert (await call(api, method="GET", path=path, token=None)).status == 422
    assert await head(api, path, token=None) == (422, b"")
    assert api.queue.pings == []


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", OLD_PATHS)
async def test_the_old_paths_take_post_alone(api: House, method: str, path: str) -> None:
    status = (
        (await head(api, path))[0] if method == "HEAD" else (await call(api, method="GET", path=path)).status
    )
    assert status == 404
    assert api.queue.pings == []


@pytest.mark.parametrize("path", [*PATHS, *OLD_PATHS])
async def test_options_is_no_route_and_allows_no_origin(api: House, path: str) -> None:
    asked = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    answer = await call(api, method="OPTIONS", path=path, token=None, headers=asked)
    assert answer.status == 404
    assert [name for name in answer.headers if name.startswith("access-control")] == []


@pytest.mark.parametrize("path", PATHS)
async def test_a_ping_in_the_body_of_a_head_is_none(api: House, path: str) -> None:
    status, rest = await head(api, path, body=b'{"user_id":"bob","message":"hello"}')
    assert (status, rest) == (404, b"")
    assert api.queue.pings == []
