"""The queries of an external rhoconnect-push about apps and users."""

import base64

import pytest
from redis.asyncio import Redis

from gateway.http_api.rhoconnect_push_login import app_credentials, same_app
from gateway.settings import Secret, Settings
from protocols.rhoconnect_push.wire import basic
from tests.gateway.http_api.harness import call, house

PATH = "/rc/v1/system/rps_login"


def header(credentials: str) -> str:
    return "Basic " + base64.b64encode(credentials.encode()).decode()


@pytest.mark.parametrize(
    ("url", "name", "password"),
    [
        ("http://app:secret@push:8675/", "app", "secret"),
        ("http://my%40app:p%3Aw@push", "my@app", "p:w"),
        ("http://app@push", "app", ""),
        ("http://a@b:c@push", "a@b", "c"),
    ],
)
def test_the_credentials_are_those_of_the_push_servers_url(url: str, name: str, password: str) -> None:
    found = app_credentials(Secret(url))
    assert found is not None
    assert (found.name, found.password) == (name, password)


def test_without_them_there_is_no_app() -> None:
    assert app_credentials(None) is None
    assert app_credentials(Secret("http://push:8675/")) is None


@pytest.mark.parametrize(
    ("given", "same"), [("app:secret", True), ("app:other", False), ("other:secret", False), ("app:", False)]
)
def test_name_and_password_must_both_be_right(given: str, same: bool) -> None:
    wanted = app_credentials(Secret("http://app:secret@push"))
    assert wanted is not None
    assert same_app(basic(header(given)), wanted) == same


@pytest.mark.parametrize(
    ("push_server", "authorization", "status"),
    [
        ("http://app:secret@push", header("app:secret"), 204),
        ("http://app:secret@push", header("app:secret").replace("Basic", "basic"), 204),
        ("http://app:secret@push", header("app:secret").replace("Basic", "Bearer"), 401),
        ("http://app:secret@push", "Basic", 401),
        ("http://app:secret@push", header("app:wrong"), 401),
        ("http://app:secret@push", None, 401),
        (None, header("app:secret"), 500),
    ],
)
async def test_the_route_answers_as_rhoconnect_does(
    redis_client: Redis, push_server: str | None, authorization: str | None, status: int
) -> None:
    settings = Settings(push_server=Secret(push_server) if push_server else None)
    async with house(redis_client, settings=settings) as api:
        answer = await call(
            api,
            method="GET",
            path=PATH,
            token=None,
            headers={"Authorization": authorization} if authorization else {},
        )
    assert answer.status == status
