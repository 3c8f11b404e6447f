"""The push service's scripts and batches, on the keys of rhoconnect-push."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.errors import StoreDown
from gateway.mailbox.store import APPS_MAX, BATCH, MailboxLimits, MailboxMessage, MailboxStore
from gateway.store.address import RedisAddress
from tests.support.redis import RedisServer

NOW_S = 1_795_600_000
FIRST = NOW_S - 1_577_836_800


class Channel:
    """Records the channel's messages."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, bytes]] = []

    def message(self, instance: bytes, message: bytes) -> None:
        self.heard.append(("message", instance + b" " + message))

    def superseded(self, instance: bytes) -> None:
        self.heard.append(("taken", instance))

    def unregistered(self, instance: bytes) -> None:
        self.heard.append(("gone", instance))

    def recheck(self) -> None:
        self.heard.append(("look again", b""))


async def opened(address: str, **keeping: Any) -> MailboxStore:
    store = MailboxStore(RedisAddress.parse(address), MailboxLimits(**keeping), clock=lambda: NOW_S)
    await store.open()
    return store


@pytest.fixture
async def store(redis_address: str) -> AsyncIterator[MailboxStore]:
    made = await opened(redis_address)
    yield made
    await made.close()


async def post(store: MailboxStore, *postings: MailboxMessage) -> list[Any]:
    futures = [asyncio.get_running_loop().create_future() for _ in postings]
    for posting, future in zip(postings, futures, strict=True):
        store.post(posting, future.set_result)
    return list(await asyncio.gather(*futures))


async def poll(store: MailboxStore, *polls: tuple[bytes, int]) -> list[Any]:
    futures = [asyncio.get_running_loop().create_future() for _ in polls]
    for (instance, last), future in zip(polls, futures, strict=True):
        store.poll(instance, last, future.set_result)
    return list(await asyncio.gather(*futures))


async def calls(redis: Redis) -> int:
    stats = await redis.info("commandstats")
    return int(stats.get("cmdstat_evalsha", {"calls": 0})["calls"])


async def test_an_iteration_of_the_loop_makes_one_call_up_to_the_batch_size(
    store: MailboxStore, redis_client: Redis
) -> None:
    await store.register("i", "app", "t")
    await post(store, MailboxMessage("t", b"{}"))  # the scripts are cached from here on
    await redis_client.config_resetstat()
    ids = await post(store, *[MailboxMessage("t", b"{}")] * (BATCH + 1))
    assert ids == [FIRST + 2 + number for number in range(BATCH + 1)]
    assert await calls(redis_client) == 2


async def test_each_entry_of_a_batch_has_its_own_end(store: MailboxStore) -> None:
    await store.register("i", "app", "t")
    assert await post(
        store, MailboxMessage("t", b"{}"), MailboxMessage("none", b"{}"), MailboxMessage("t", b"{}")
    ) == [
        FIRST + 1,
        0,
        FIRST + 2,
    ]
    found = await poll(store, (b"i", 0), (b"nobody", 0), (b"i", FIRST + 1), (b"i", FIRST + 2))
    assert [json.loads(reply)["id"] if reply else reply for reply in found] == [FIRST + 1, 0, FIRST + 2, b""]


async def test_only_first_messages_are_published(store: MailboxStore, redis_address: str) -> None:
    channel, other = Channel(), await opened(redis_address)
    other.set_listener(channel)
    await store.register("i", "app", "t")
    await post(store, MailboxMessage("t", b'{"a":1}'), MailboxMessage("t", b'{"a":2}'))
    await poll(store, (b"i", FIRST + 2))
    assert await store.unregister("i", "app")
    async with asyncio.timeout(30):
        while not channel.heard or channel.heard[-1][0] != "gone":
            await asyncio.sleep(0.01)
    first = b'i {"id":%d,"token":"t","data":{"a":1}}' % (FIRST + 1)
    assert channel.heard == [("message", first), ("taken", b"i"), ("gone", b"i")]
    await other.close()


async def test_a_process_ignores_notifications_about_its_own_polls(store: MailboxStore) -> None:
    channel = Channel()
    store.set_listener(channel)
    await store.register("i", "app", "t")
    await poll(store, (b"i", 0))
    await post(store, MailboxMessage("t", b"{}"))
    async with asyncio.timeout(30):
        while not channel.heard:
            await asyncio.sleep(0.01)
    assert [word for word, _ in channel.heard] == ["message"]


async def test_a_named_message_is_queued_once_while_it_waits(store: MailboxStore) -> None:
    await store.register("i", "app", "t")
    first, again, other = await post(
        store,
        MailboxMessage("t", b"{}", name="p1"),
        MailboxMessage("t", b"{}", name="p1"),
        MailboxMessage("t", b"{}", name="p2"),
    )
    assert (again, other) == (first, first + 1)
    await poll(store, (b"i", first))
    assert await post(store, MailboxMessage("t", b"{}", name="p1")) == [other + 1]


async def test_an_app_with_a_difficult_name_is_found(store: MailboxStore, redis_client: Redis) -> None:
    name = 'a"b\\c:dé'
    assert await store.register("i", name, "t") == "t"
    assert await store.token_of("i", name) == "t"
    await post(store, MailboxMessage("t", b"{}", collapse="5"))
    assert await redis_client.zrange("col:i", 0, -1) == [f"5:{name}".encode()]
    assert await store.unregister("i", name)
    assert await redis_client.keys("*") == [b"cnt:i"], "the counter, which is ahead of this clock"


async def test_registrations_have_their_limit(store: MailboxStore) -> None:
    for number in range(APPS_MAX):
        assert await store.register("i", f"app{number}", f"t{number}") == f"t{number}"
    assert await store.register("i", "one more", "t") is None
    assert await store.register("i", "app0", "other") == "t0"


async def test_garbage_beside_a_registration_has_no_effect(store: MailboxStore, redis_client: Redis) -> None:
    await redis_client.sadd("reg:i", "no json", '{"token":"t","appname":"app"}', "[]")
    await redis_client.set("tok:t", "i")
    assert await store.token_of("i", "app") == "t"
    assert (await post(store, MailboxMessage("t", b"{}", collapse="1")))[0] == FIRST
    assert await store.forget("i")


@pytest.mark.parametrize(("queue_max", "left"), [(2, [1, 2]), (3, [0, 1, 2])])
async def test_a_queue_has_its_limit(
    redis_client: Redis, redis_address: str, queue_max: int, left: list[int]
) -> None:
    store = await opened(redis_address, queue_max=queue_max)
    await store.register("i", "app", "t")
    await post(store, *(MailboxMessage("t", b'{"n":%d}' % number) for number in range(3)))
    found = await redis_client.zrange("que:i", 0, -1)
    assert [json.loads(text)["data"]["n"] for text in found] == left
    await store.close()


async def test_fresh_keys_are_not_prolonged(redis_client: Redis, redis_address: str) -> None:
    store = await opened(redis_address, registration_ttl_s=3_000)
    await store.register("i", "app", "t")
    for ttl, prolonged in ((2_950, False), (2_850, True)):
        await redis_client.expire("reg:i", ttl)
        await poll(store, (b"i", 0))
        assert (await redis_client.ttl("reg:i") > 2_960) is prolonged
    await store.close()


async def test_the_secret_is_made_once(store: MailboxStore, redis_address: str) -> None:
    other = await opened(redis_address)
    secrets = await asyncio.gather(store.secret(), other.secret())
    assert secrets[0] == secrets[1]
    assert len(secrets[0]) == 32
    await other.close()


async def test_without_redis_every_caller_gets_an_error() -> None:
    with RedisServer("valkey") as server:
        store = await opened(server.address)
        server.kill()
        replies = await post(store, MailboxMessage("t", b"{}"), MailboxMessage("t", b"{}"))
        replies += await poll(store, (b"i", 0))
        assert all(isinstance(reply, StoreDown) for reply in replies)
        with pytest.raises(StoreDown):
            await store.register("i", "app", "t")
        await store.close()


@pytest.mark.parametrize("kind", ["reg:", "cnt:", "que:", "col:"])
async def test_a_damaged_mailbox_harms_no_other_of_the_same_call(
    store: MailboxStore, redis_client: Redis, kind: str
) -> None:
    for instance in ("odd", "good"):
        await store.register(instance, "app", f"token-{instance}")
    await redis_client.delete(kind + "odd")
    await redis_client.rpush(kind + "odd", "of another type")
    messages = [MailboxMessage(f"token-{instance}", b"{}") for instance in ("odd", "good")]
    refused, accepted = await post(store, *messages)
    assert isinstance(refused, StoreDown)
    assert accepted == FIRST + 1
    refused, message = await poll(store, (b"odd", 0), (b"good", 0))
    assert isinstance(refused, StoreDown)
    assert b"token-good" in message


@pytest.mark.parametrize("member", ["5", "null", "[", '{"token":5}', '{"token":"x","appname":{}}'])
async def test_an_unreadable_registration_is_skipped(
    store: MailboxStore, redis_client: Redis, member: str
) -> None:
    await redis_client.sadd("reg:phone", member)
    assert await store.register("phone", "app", "token") == "token"
    assert await post(store, MailboxMessage("token", b"{}")) == [FIRST + 1]
    assert b"token" in (await poll(store, (b"phone", 0)))[0]
    assert await store.unregister("phone", "app")


async def test_a_counter_that_is_no_number_counts_as_missing(
    store: MailboxStore, redis_client: Redis
) -> None:
    await store.register("phone", "app", "token")
    await redis_client.set("cnt:phone", "x")
    assert await post(store, MailboxMessage("token", b"{}")) == [FIRST]


@pytest.mark.parametrize("counter", [None, FIRST - 100, FIRST], ids=["lost", "behind", "just behind"])
async def test_queued_messages_are_acknowledged_after_the_loss_of_their_counter(
    store: MailboxStore, redis_client: Redis, counter: int | None
) -> None:
    await store.register("i", "app", "t")
    assert await post(store, *[MailboxMessage("t", b"{}")] * 3) == [FIRST + 1, FIRST + 2, FIRST + 3]
    await redis_client.delete("cnt:i")
    if counter is not None:
        await redis_client.set("cnt:i", counter)
    (above,) = await poll(store, (b"i", FIRST + 4))
    assert json.loads(above)["id"] == FIRST + 1, "no message has this id: nothing is acknowledged"
    (third,) = await poll(store, (b"i", FIRST + 2))
    assert json.loads(third)["id"] == FIRST + 3
    assert await poll(store, (b"i", FIRST + 3)) == [b""]
    assert await redis_client.zcard("que:i") == 0


async def test_the_waiting_messages_of_a_name_are_withdrawn_and_no_others(
    store: MailboxStore, redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With and without a collapse id, in many mailboxes; a message that replaced one of them stays."""
    monkeypatch.setattr("gateway.mailbox.store._SCANNED_TOGETHER", 10)
    monkeypatch.setattr("gateway.mailbox.store._NAMES_TOGETHER", 1)
    for number in range(30):
        await store.register(f"phone {number}", "app", f"tok-{number}")
        await post(
            store,
            MailboxMessage(f"tok-{number}", b'{"n":1}', name="0a"),
            MailboxMessage(f"tok-{number}", b'{"n":2}', "3", name="0d"),
            MailboxMessage(f"tok-{number}", b'{"n":3}', "4", name="0e"),
            MailboxMessage(f"tok-{number}", b'{"n":4}', "4", name="0b"),
            MailboxMessage(f"tok-{number}", b'{"n":5}', name="0c"),
        )
    assert await store.withdraw(["0a", "0c", "0d", "0e", "0f"]) == 90
    for number in range(30):
        (left,) = await redis_client.zrange(f"que:phone {number}", 0, -1)
        assert json.loads(left)["data"] == {"n": 4}
        assert sorted(await redis_client.zrange(f"col:phone {number}", 0, -1)) == [b"4:app", b"~0b:app"]
    assert await store.withdraw(["0a"]) == 0


@pytest.mark.parametrize("collapse", [None, "5"])
async def test_a_repeat_of_a_message_keeps_the_id_that_the_device_may_have_fetched(
    store: MailboxStore, collapse: str | None
) -> None:
    await store.register("i", "app", "t1")
    message = MailboxMessage("t1", b"{}", collapse, name="aa")
    first = await post(store, message)
    fetched = await poll(store, (b"i", 0))
    assert await post(store, message) == first
    assert await poll(store, (b"i", 0)) == fetched
    other = await post(store, MailboxMessage("t1", b"{}", collapse, name="bb"))
    assert other == [first[0] + 1]
    assert await poll(store, (b"i", first[0])) != [b""]


async def test_a_counter_that_a_poll_makes_again_does_not_outlive_its_registration(
    store: MailboxStore, redis_client: Redis
) -> None:
    await store.register("i", "app", "t1")
    await redis_client.delete("cnt:i")
    assert await poll(store, (b"i", FIRST + 5)) == [b""]
    assert await redis_client.get("cnt:i") == str(FIRST + 5).encode()
    assert 0 < await redis_client.ttl("cnt:i") <= store.limits.registration_ttl_s
