"""The limit of a caller to apps."""

from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.errors import AppNotAllowed, NotFound
from gateway.http_api.app_limits import (
    require_all_apps,
    require_registration,
    require_visible,
    visible_clients,
)
from gateway.registry.clients import Clients
from gateway.registry.scopes import ALL_SCOPES, API_TOKEN, Principal
from protocols.errors import InvalidField

LIMITED = Principal("ci", ALL_SCOPES, frozenset({"a"}), "ab12")


async def clients(redis: Redis) -> Clients:
    await redis.mset(
        {
            "client:c1:device_app_id": "a",
            "client:c2:device_app_id": "b",
            "client:of-no-app:rho__id": "of-no-app",
            "client:of-no-app:device_type": "Apple",
            "client:logged-out:rho__id": "logged-out",
            "client:logged-out:device_type": "",
            "client:logged-out:device_app_id": "",
        }
    )
    return Clients(redis, lambda: 1.0)


def test_a_change_for_all_apps_needs_a_caller_without_a_limit() -> None:
    require_all_apps(API_TOKEN)
    with pytest.raises(AppNotAllowed, match="ci is limited"):
        require_all_apps(LIMITED)


async def test_clients_of_other_apps_are_not_seen(redis_client: Redis) -> None:
    known = await clients(redis_client)
    every = ["c1", "c2", "c3"]
    assert await visible_clients(API_TOKEN, known, every) == every
    assert await visible_clients(LIMITED, known, every) == ["c1"]
    assert await visible_clients(LIMITED, known, []) == []
    await require_visible(LIMITED, known, "c1")
    for other in ("c2", "c3"):
        await require_visible(API_TOKEN, known, other)
        with pytest.raises(NotFound):
            await require_visible(LIMITED, known, other)


@pytest.mark.parametrize(
    ("client", "fields", "allowed"),
    [
        ("c1", {}, True),
        ("c1", {"device_app_id": "a"}, True),
        ("c1", {"device_app_id": "b"}, False),
        ("c2", {}, False),
        ("c2", {"device_app_id": "a"}, False),
        ("c3", {"device_app_id": "a"}, True),
        ("c3", {}, False),
        ("of-no-app", {"device_app_id": "a"}, False),
        ("logged-out", {"device_app_id": "a"}, True),
        ("", {"device_app_id": "a"}, True),
        ("", {"device_app_id": "b"}, False),
        ("", {}, False),
    ],
)
async def test_a_registration_stays_in_the_apps_of_the_caller(
    redis_client: Redis, client: str, fields: dict[str, Any], allowed: bool
) -> None:
    known = await clients(redis_client)
    await require_registration(API_TOKEN, known, client, fields)
    if allowed:
        await require_registration(LIMITED, known, client, fields)
    else:
        with pytest.raises(AppNotAllowed):
            await require_registration(LIMITED, known, client, fields)


@pytest.mark.parametrize("app", [["a"], {"a": 1}, True, 1.5])
@pytest.mark.parametrize("client", ["", "c1"])
async def test_an_app_of_another_type_is_refused_with_the_name_of_its_field(
    redis_client: Redis, client: str, app: Any
) -> None:
    with pytest.raises(InvalidField) as refused:
        await require_registration(LIMITED, await clients(redis_client), client, {"device_app_id": app})
    assert refused.value.field == "device_app_id"
