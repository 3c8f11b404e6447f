"""Registration under rivalry, over a real store; the routes' tests show the rest."""

import asyncio

import pytest
from redis.asyncio import Redis

from gateway.registry.clients import Clients, device_fields
from gateway.store import keys
from protocols.errors import InvalidField


async def test_a_client_that_several_users_register_at_once_belongs_to_one(redis_client: Redis) -> None:
    clients = Clients(redis_client)
    logins = [f"user{number}" for number in range(4)]
    await asyncio.gather(*(clients.register(login, "c", {"device_pin": login}) for login in logins))
    owner = (await clients.show("c"))["user_id"]
    having = [login for login in logins if await clients.of_user(login) == ["c"]]
    assert having == [owner]
    assert await redis_client.get("client:count") == b"1"


async def test_registering_again_as_the_same_user_changes_no_set(redis_client: Redis) -> None:
    clients = Clients(redis_client, now=lambda: 12.5)
    client_id = await clients.create("bob", {"device_pin": "a"})
    await clients.register("bob", client_id, {"device_pin": "b"})
    assert await clients.of_user("bob") == [client_id]
    assert (await clients.show(client_id))["device_pin"] == "b"
    assert await redis_client.get(keys.registered(client_id)) == b"12500"
    assert 0 < await redis_client.ttl(keys.registered(client_id)) <= keys.DEAD_S


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ({}, {}),
        ({"device_pin": None}, {}),
        ({"device_pin": ""}, {"device_pin": ""}),
        ({"device_port": 100}, {"device_port": "100"}),
        ({"device_pin": "x" * 4096}, {"device_pin": "x" * 4096}),
        ({"last_sync": "2026", "user_id": "eve", "rho__id": "x"}, {}),
    ],
)
def test_accepted_device_fields(given: dict[str, object], taken: dict[str, str]) -> None:
    assert device_fields(given) == taken


@pytest.mark.parametrize("value", [1.5, False, ["a"], {"a": 1}, "x" * 4097])
def test_refused_device_fields(value: object) -> None:
    with pytest.raises(InvalidField) as caught:
        device_fields({"device_pin": value})
    assert caught.value.field == "device_pin"


@pytest.mark.parametrize("field", ["device_pin", "phone_id", "device_app_id"])
async def test_a_client_with_a_field_of_another_type_can_be_deleted(redis_client: Redis, field: str) -> None:
    clients = Clients(redis_client)
    client_id = await clients.create("bob", {"device_pin": "a"})
    await redis_client.delete(keys.client(client_id, field))
    await redis_client.rpush(keys.client(client_id, field), "of another type")
    await clients.delete("bob", client_id)
    assert await clients.of_user("bob") == []
    assert await redis_client.keys(keys.client(client_id, "*")) == []
    assert await redis_client.get(keys.count("client")) == b"0"
