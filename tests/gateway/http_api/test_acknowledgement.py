"""A device acknowledges a ping: permissions, the receipt and the metric."""

from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from gateway.queue import effects as effects_module
from gateway.queue.effects import EffectStore
from gateway.queue.receipts import PingRecord, Receipts, pack_base
from gateway.settings import AuthSettings, Settings
from gateway.store import keys
from gateway.store.connection import RedisConnection
from tests.gateway.http_api.harness import Answer, House, call, house
from tests.gateway.http_api.test_devices import OFF, PHONE, log_in, new_client

BATCH = "0190" + "a" * 24
PING = BATCH + "0001"
SETTINGS = Settings(auth=AuthSettings(devices="open"))


@pytest.fixture
def store(connection: RedisConnection) -> EffectStore:
    return EffectStore(connection, 3600, "one:0")


@pytest.fixture
async def api(redis_client: Redis, store: EffectStore) -> AsyncIterator[House]:
    async with house(redis_client, settings=SETTINGS, acknowledgements=store) as found:
        yield found


async def receipt(redis: Redis, *devices: str) -> None:
    """The receipts of two pings, the second for these devices."""
    listed = tuple((device, "apns") for device in devices)
    records = [PingRecord(), PingRecord(len(listed), listed)]
    await redis.hset(keys.receipt(BATCH), mapping={"base": pack_base(records), "size": 10})


async def acknowledge(api: House, session: dict[str, str], client_id: str, ping_id: str = PING) -> Answer:
    body = {"client_id": client_id}
    return await call(api, body, path=f"/rc/v1/pings/{ping_id}/ack", token=None, headers=session)


async def test_an_acknowledgement_is_in_the_receipt_and_counts_once(
    api: House, redis_client: Redis, connection: RedisConnection
) -> None:
    session = await log_in(api, "ann")
    phone, silent = await new_client(api, session), await new_client(api, session)
    await call(api, PHONE, path=f"/rc/v1/clients/{phone}/register", token=None, headers=session)
    await receipt(redis_client, phone, silent)
    answers = [await acknowledge(api, session, phone) for _ in range(2)]
    assert [(answer.status, answer.json) for answer in answers] == [
        (200, {"recorded": True}),
        (200, {"recorded": False}),
    ]
    report = await Receipts(connection).report(PING)
    assert report is not None
    assert report["acknowledged"] == 1
    assert [device.get("acknowledged") for device in report["devices"]] == [True, None]
    assert 'rhopush_acknowledgements_total{provider="apns"} 1.0' in api.metrics
    assert await redis_client.hget(keys.STATS, "receipt_bytes") == await added_bytes(redis_client)


async def added_bytes(redis: Redis) -> bytes:
    """The bytes that were added, by the size that the receipt records."""
    size = await redis.hget(keys.receipt(BATCH), "size")
    return str(int(size or 0) - 10).encode()


async def test_only_the_users_own_devices_acknowledge(api: House, redis_client: Redis) -> None:
    ann, bob = await log_in(api, "ann"), await log_in(api, "bob")
    phone = await new_client(api, ann)
    await receipt(redis_client, phone)
    assert (await acknowledge(api, bob, phone)).status == 403
    assert (await acknowledge(api, ann, "0" * 32)).status == 404
    assert (await acknowledge(api, ann, "a b")).status == 400
    assert (await acknowledge(api, ann, "")).status == 400
    assert (await acknowledge(api, {}, phone)).status == 401
    with_token = await call(api, {"client_id": phone}, path=f"/rc/v1/pings/{PING}/ack")
    assert with_token.status == 401
    assert await redis_client.hkeys(keys.receipt(BATCH)) == [b"base", b"size"]
    api.set(auth={"devices": "off"})
    assert (await acknowledge(api, ann, phone)).status == 403
    assert OFF.auth.devices == "off"


@pytest.mark.parametrize("ping_id", [BATCH + "0002", "1" * 32, "x" * 32, "1"])
async def test_a_ping_without_a_receipt_is_unknown(api: House, redis_client: Redis, ping_id: str) -> None:
    session = await log_in(api, "ann")
    phone = await new_client(api, session)
    await receipt(redis_client, phone)
    assert (await acknowledge(api, session, phone, ping_id)).status == 404
    assert await redis_client.exists(keys.receipt("1" * 28)) == 0


@pytest.mark.parametrize(("state", "status"), [("queued", 200), ("open", 200), ("scheduled", 404)])
async def test_a_device_may_be_faster_than_its_receipt(
    api: House, redis_client: Redis, connection: RedisConnection, state: str, status: int
) -> None:
    session = await log_in(api, "ann")
    phone = await new_client(api, session)
    api.reports.known[PING] = {"ping_id": PING, "state": state}
    assert (await acknowledge(api, session, phone)).status == status
    assert await redis_client.exists(keys.receipt(BATCH)) == int(status == 200)
    if status == 200:
        assert 0 < await redis_client.ttl(keys.receipt(BATCH)) <= 3600 + keys.RECEIPT_SLACK_S
        await receipt(redis_client, phone)
        report = await Receipts(connection).report(PING)
        assert report is not None
        assert report["devices"][0]["acknowledged"]


async def test_the_acknowledgements_of_a_receipt_are_bounded(
    api: House, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(effects_module, "ACKNOWLEDGED_MAX", 2)
    session = await log_in(api, "ann")
    phones = [await new_client(api, session) for _ in range(3)]
    await receipt(redis_client, *phones)
    answers = [await acknowledge(api, session, phone) for phone in phones]
    assert [answer.json["recorded"] for answer in answers] == [True, True, False]


async def test_a_broadcasts_receipt_takes_acknowledgements(api: House, redis_client: Redis) -> None:
    session = await log_in(api, "ann")
    phone = await new_client(api, session)
    await redis_client.hset(keys.receipt(BATCH), "0:open", 3)
    assert (await acknowledge(api, session, phone, BATCH + "0000")).json == {"recorded": True}
    assert (await acknowledge(api, session, phone, BATCH + "0001")).status == 404
