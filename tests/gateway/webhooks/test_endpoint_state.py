"""Leadership, cursor and replay of an endpoint."""

from redis.asyncio import Redis

from gateway.store import keys
from gateway.store.connection import RedisConnection
from gateway.webhooks.endpoint_state import NO_RECORD, PROGRESS, EndpointState, EndpointStates
from protocols.webhooks.progress import DeliveryProgress

STATE, LEADER = keys.webhook_endpoint("crm"), keys.webhook_leader("crm")


async def test_a_new_endpoint_begins_behind_the_newest_record(
    states: EndpointStates, redis_client: Redis
) -> None:
    await states.begin(["early"])
    await redis_client.xadd(keys.WEBHOOK_EVENTS, {"s": 9, "q": 7}, id="5000-1")
    await states.begin(["crm", "early"])
    assert (await states.read("crm"))[1:3] == ("5000-1", 7)
    assert (await states.read("early")).cursor == NO_RECORD


async def test_one_worker_leads_until_its_lease_ends(
    states: EndpointStates, connection: RedisConnection, redis_client: Redis
) -> None:
    other = EndpointStates(connection, "other:0")
    await states.begin(["crm"])
    state = await states.hold("crm")
    assert state is not None
    assert state.now_ms > 10**12
    assert await other.hold("crm") is None
    assert await states.hold("crm") is not None
    assert not await other.change("crm", {"cursor": "9-0"})
    assert await states.change("crm", {"cursor": "7-0"}, add={"delivered": 2})
    await other.release("crm")
    assert await other.hold("crm") is None
    await redis_client.pexpire(LEADER, 1)
    while await redis_client.exists(LEADER):
        pass
    taken = await other.hold("crm")
    assert taken is not None
    assert (taken.cursor, taken.delivered) == ("7-0", 2)
    assert not await states.change("crm", {"cursor": "8-0"})
    await other.release("crm")
    assert await states.hold("crm") is not None


async def test_a_change_renews_the_lease(states: EndpointStates, redis_client: Redis) -> None:
    await states.hold("crm")
    await redis_client.pexpire(LEADER, 5_000)
    await states.change("crm", {"sent": "msg"}, delete=("attempts",))
    assert await redis_client.pttl(LEADER) > 5_000


async def test_a_replay_moves_the_cursor_back_and_never_forward(
    states: EndpointStates, redis_client: Redis
) -> None:
    await redis_client.hset(
        STATE,
        mapping={"cursor": "5000-1", "number": 7, **dict.fromkeys(PROGRESS, "m"), "attempts": 2, "due": 9},
    )
    await states.change("crm", {"replay": 3000}, as_leader=False)
    state = await states.hold("crm")
    assert state is not None
    assert state.cursor == "2999-18446744073709551615"
    assert (state.number, state.progress, state.attempts, state.due_ms) == (0, DeliveryProgress(), 0, 0)
    await states.change("crm", {"replay": 4000}, as_leader=False)
    state = await states.hold("crm")
    assert state is not None
    assert state.cursor == "2999-18446744073709551615"


async def test_a_damaged_state_begins_again(states: EndpointStates, redis_client: Redis) -> None:
    await redis_client.hset(STATE, mapping={"cursor": "no id", "number": "x", "due": "-5", "error": b"\xff"})
    state = await states.read("crm")
    assert state == EndpointState(cursor=NO_RECORD, error="�")


async def test_a_full_redis_keeps_its_leaders(states: EndpointStates, redis_client: Redis) -> None:
    await states.begin(["crm"])
    await redis_client.config_set("maxmemory", 1)
    try:
        assert await states.hold("crm") is not None
        assert await states.change("crm", {"cursor": "9-0"}, add={"delivered": 1})
    finally:
        await redis_client.config_set("maxmemory", 0)
    assert (await states.read("crm")).cursor == "9-0"


async def test_a_cursor_that_redis_refuses_begins_again(states: EndpointStates, redis_client: Redis) -> None:
    for cursor in ("5000-18446744073709551616", "5000-" + "9" * 20, "5000-x"):
        await redis_client.hset(STATE, "cursor", cursor)
        assert (await states.read("crm")).cursor == NO_RECORD
    await redis_client.hset(STATE, "cursor", "5000-18446744073709551615")
    assert (await states.read("crm")).cursor == "5000-18446744073709551615"


async def test_the_number_of_the_last_removed_record_comes_with_the_state(
    states: EndpointStates, redis_client: Redis
) -> None:
    async def removed() -> int:
        state = await states.hold("crm")
        assert state is not None
        return state.removed

    assert await removed() == 0
    for number in (7, 8):
        await redis_client.xadd(keys.WEBHOOK_EVENTS, {"s": 9, "q": number}, id=f"5000-{number}")
    await redis_client.hset(keys.WEBHOOK_OUTBOX, "number", 8)
    assert await removed() == 6
    await redis_client.xtrim(keys.WEBHOOK_EVENTS, maxlen=0, approximate=False)
    assert await removed() == 8
    await states.begin(["late"])
    assert (await states.read("late")).number == 8
    for kind in (keys.WEBHOOK_EVENTS, keys.WEBHOOK_OUTBOX):  # keys of another type stop no endpoint
        await redis_client.delete(kind)
        await redis_client.set(kind, "x")
        assert await removed() == 0
