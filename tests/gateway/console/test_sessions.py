"""Sessions: stored under a digest, encrypted, with an end."""

import asyncio

from redis.asyncio import Redis

from gateway.console.sessions import ConsoleSessions
from gateway.store import keys


async def test_a_session_is_read_by_its_id_alone(redis_client: Redis) -> None:
    sessions = ConsoleSessions(redis_client)
    session_id = await sessions.begin("api_token", "", "the-token")
    found = await sessions.read(session_id)
    assert found is not None
    assert (found.kind, found.name, found.secret) == ("api_token", "", "the-token")
    assert len(found.csrf) >= 43
    for other in ("", "x", session_id[:-1], session_id + "x", "é" * 43, "x" * 1_000_000):
        assert await sessions.read(other) is None


async def test_redis_holds_neither_the_id_nor_the_token(redis_client: Redis) -> None:
    session_id = await ConsoleSessions(redis_client).begin("api_token", "", "the-token")
    (key,) = await redis_client.keys("*")
    stored = key + b" " + await redis_client.get(key)
    assert session_id.encode() not in stored
    assert b"the-token" not in stored
    assert 0 < await redis_client.ttl(key) <= keys.CONSOLE_SESSION_S


async def test_ids_and_csrf_tokens_differ(redis_client: Redis) -> None:
    sessions = ConsoleSessions(redis_client)
    ids = {await sessions.begin("account", "root", "f") for _ in range(20)}
    tokens = {found.csrf for one in ids if (found := await sessions.read(one)) is not None}
    assert len(ids) == len(tokens) == 20


async def test_an_ended_or_changed_session_is_none(redis_client: Redis) -> None:
    sessions = ConsoleSessions(redis_client)
    session_id = await sessions.begin("token", "ci", "f")
    (key,) = await redis_client.keys("*")
    await redis_client.set(key, b"something else")
    assert await sessions.read(session_id) is None
    session_id = await sessions.begin("token", "ci", "f")
    await sessions.end(session_id)
    assert await sessions.read(session_id) is None


async def test_its_text_has_no_secret(redis_client: Redis) -> None:
    sessions = ConsoleSessions(redis_client)
    found = await sessions.read(await sessions.begin("token", "ci", "fingerprint"))
    assert "fingerprint" not in repr(found)


async def test_many_invented_ids_take_one_round_trip(redis_client: Redis) -> None:
    sessions = ConsoleSessions(redis_client)
    session_id = await sessions.begin("api_token", "", "the-token")
    before = (await redis_client.info("stats"))["total_commands_processed"]
    flood = [sessions.read(f"{number:043}", "flood") for number in range(1_000)]
    *invented, found = await asyncio.gather(*flood, sessions.read(session_id, "operator"))
    after = (await redis_client.info("stats"))["total_commands_processed"]
    assert set(invented) == {None}
    assert found is not None
    assert after - before < 20
    await sessions.close()


async def test_a_text_that_is_no_id_is_not_looked_up(redis_client: Redis) -> None:
    sessions = ConsoleSessions(redis_client)
    before = (await redis_client.info("commandstats")).get("cmdstat_mget")
    for text in ("", "x" * 65, "é"):
        assert await sessions.read(text) is None
    assert (await redis_client.info("commandstats")).get("cmdstat_mget") == before
    await sessions.close()
