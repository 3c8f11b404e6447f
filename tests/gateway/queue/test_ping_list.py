"""Which pings there are, the newest first, page by page."""

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.queue.consumer import ReceiptField, Settlement, Streams
from gateway.queue.ping_list import (
    LIMIT,
    LIMIT_MAX,
    PingList,
    Position,
    _SettledPings,
    format_cursor,
    parse_query,
)
from gateway.queue.ping_queue import BacklogLimits
from gateway.queue.producer import QueueProducer
from gateway.queue.receipts import PingRecord, pack_base, pack_delta
from gateway.store import keys
from gateway.store.connection import RedisConnection
from protocols.errors import InvalidField
from protocols.ping.model import Ping

STATES = frozenset({"queued", "open", "done"})


@pytest.fixture
def pings(connection: RedisConnection) -> PingList:
    return PingList(connection)


@pytest.fixture
async def queue(connection: RedisConnection) -> QueueProducer:
    return QueueProducer(connection, BacklogLimits(10**6, 10**9))


async def appended(queue: QueueProducer, count: int = 1, **fields: Any) -> list[str]:
    """Ids of pings, each in an entry of its own, the oldest first; all are older than those of the next call."""
    await asyncio.sleep(0.002)  # pings of the same millisecond are listed in any order
    return [
        (await queue.append(Ping(users=("bob",), message="hello", **fields), 100)).ping_id
        for _ in range(count)
    ]


async def settle(connection: RedisConnection, *, still_open: bool = False) -> None:
    """Give every queued ping that was not read yet its receipt, in the order of the queue."""
    streams = Streams(connection, "one:0", 3600)
    await streams.prepare()
    for lease in await streams.read(connection, (keys.PINGS,), 1000, 1):
        batch_id = lease.payload[2:30].decode()
        key = keys.receipt(batch_id)
        fields = [ReceiptField(key, "base", pack_base([PingRecord(accepted=2)]))]
        if still_open:
            fields.append(ReceiptField(key, "0:open", 1))
        streams.settle(Settlement(lease, fields), 0, lambda _: None)
    await connection.call("PING")


async def lay_receipt(redis: Redis, number: int) -> None:
    """The receipt of a batch of one ping; its first verdict came `number` ms after the epoch."""
    key = keys.receipt(f"{number:028x}")
    await redis.hset(key, "base", pack_base([PingRecord(accepted=1)]))
    await redis.zadd(keys.RECEIPTS, {key: number})


def ids(page: dict[str, Any]) -> list[str]:
    return [ping["ping_id"] for ping in page["pings"]]


async def test_an_empty_redis_has_an_empty_list(pings: PingList) -> None:
    assert await pings.page() == {"pings": [], "next_cursor": None}


async def test_pings_of_all_states_come_the_newest_first(
    pings: PingList, queue: QueueProducer, connection: RedisConnection
) -> None:
    done = await appended(queue)
    await settle(connection)
    is_open = await appended(queue)
    await settle(connection, still_open=True)
    queued = await appended(queue, ingress="resque")
    page = await pings.page()
    assert ids(page) == [*queued, *is_open, *done]
    assert [ping["state"] for ping in page["pings"]] == ["queued", "open", "done"]
    assert [ping["ingress"] for ping in page["pings"]] == ["resque", None, None]
    assert page["pings"][2]["counts"]["accepted"] == 2
    assert page["pings"][0]["accepted_at"].endswith("Z")
    for state, expected in (("queued", queued), ("open", is_open), ("done", done)):
        assert ids(await pings.page(state)) == expected


async def test_pages_follow_each_other_without_gap_or_repeat(
    pings: PingList, queue: QueueProducer, connection: RedisConnection
) -> None:
    settled = await appended(queue, 40)
    await settle(connection)
    queued = await appended(queue, 40)
    expected = [*reversed(queued), *reversed(settled)]
    all_at_once = ids(await pings.page(limit=500))
    assert sorted(all_at_once) == sorted(expected)
    assert all_at_once[:40] == expected[:40]
    found: list[str] = []
    cursor = None
    while True:
        page = await pings.page(limit="7", cursor=cursor)
        assert len(page["pings"]) <= 7
        found += ids(page)
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == all_at_once


async def test_the_pings_of_one_batch_are_distinguished(pings: PingList, redis_client: Redis) -> None:
    batch = "0192f3a4b5c67" + "8" * 15
    await redis_client.zadd(keys.RECEIPTS, {keys.receipt(batch): 5})
    await redis_client.hset(
        keys.receipt(batch),
        mapping={
            "base": pack_base([PingRecord(accepted=number) for number in range(5)]),
            "3+1-0": pack_delta(PingRecord(accepted=10)),
            "4:open": "1",
        },
    )
    page = await pings.page(limit=2)
    assert [(ping["counts"]["accepted"], ping["state"]) for ping in page["pings"]] == [
        (4, "open"),
        (13, "done"),
    ]
    page = await pings.page(cursor=page["next_cursor"])
    assert [ping["counts"]["accepted"] for ping in page["pings"]] == [2, 1, 0]
    assert ids(await pings.page("open")) == [f"{batch}0004"]


async def test_a_broadcast_with_a_receipt_is_listed_once(
    pings: PingList, queue: QueueProducer, redis_client: Redis
) -> None:
    users = tuple(f"u{number}" for number in range(300))
    ping_id = (await queue.append(Ping(users=users, message="x"), 100)).ping_id
    assert (await pings.page())["pings"][0]["state"] == "queued"
    await redis_client.hset(keys.receipt(ping_id[:28]), "0:open", "3")
    await redis_client.zadd(keys.RECEIPTS, {keys.receipt(ping_id[:28]): 5})
    page = await pings.page()
    assert ids(page) == [ping_id]
    assert page["pings"][0]["state"] == "open"


async def test_a_page_of_a_rare_state_ends_early_with_a_cursor(
    pings: PingList, queue: QueueProducer, connection: RedisConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.queue.ping_list.EXAMINED_MAX", 10)
    rare = await appended(queue)
    await settle(connection, still_open=True)
    await appended(queue, 25)
    await settle(connection)
    cursor, pages = None, 0
    while True:
        page = await pings.page("open", cursor=cursor)
        cursor, pages = page["next_cursor"], pages + 1
        if page["pings"] or cursor is None:
            break
    assert ids(page) == rare
    assert pages == 3


async def test_unreadable_data_hides_no_other_ping(
    pings: PingList, queue: QueueProducer, redis_client: Redis
) -> None:
    await redis_client.xadd(keys.PINGS, {"e": b"\xc1"}, id="1-0")
    await redis_client.zadd(keys.RECEIPTS, {"other": 5, keys.receipt("x" * 28): 6, keys.receipt("0" * 28): 7})
    await redis_client.zadd(keys.RECEIPTS, {keys.receipt("1" * 28): "1.5"})
    await redis_client.set(keys.receipt("1" * 28), "of another type")
    known = await appended(queue)
    assert ids(await pings.page()) == known


async def test_a_receipt_that_is_added_while_a_page_is_read_repeats_no_ping(
    connection: RedisConnection, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.queue.ping_list._ENTRIES_READ", 2)
    for number in range(1, 6):
        await lay_receipt(redis_client, number)
    walked = _SettledPings(connection).walk(parse_query(STATES, None, None, None))
    found = [(await anext(walked)).position.at_ms]
    await lay_receipt(redis_client, 6)
    found += [position.at_ms async for position, _ in walked]
    assert found == [5, 4, 3, 2, 1]


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("state", ("finished", None, None)),
        ("limit", (None, "0", None)),
        ("limit", (None, str(LIMIT_MAX + 1), None)),
        ("limit", (None, "x", None)),
        ("limit", (None, True, None)),
        ("cursor", (None, None, "")),
        ("cursor", (None, None, "!!")),
        ("cursor", (None, None, "é")),
        ("cursor", (None, None, "A" * 1000)),
        ("cursor", (None, None, "kwECAw")),
        ("cursor", (None, None, format_cursor(Position(-1, "", 0)))),
    ],
)
def test_a_parameter_without_a_valid_value_is_named(field: str, values: tuple[Any, Any, Any]) -> None:
    with pytest.raises(InvalidField) as caught:
        parse_query(STATES, *values)
    assert caught.value.field == field


def test_missing_parameters_have_their_defaults() -> None:
    assert parse_query(STATES, None, None, None) == (None, LIMIT, None)
    position = Position(17, "p0", 3)
    assert parse_query(STATES, "done", "7", format_cursor(position)) == ("done", 7, position)
