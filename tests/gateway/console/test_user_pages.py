"""The search for users, and the page of a user."""

import json
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.console.user_pages import FOUND_MAX, SCAN_COUNTS, STEPS, UserSearch
from gateway.store import keys
from gateway.store.errors import RedisCommands
from tests.gateway.console.harness import Console

XSS = '"><script>alert(1)</script>'


async def search(console: Console, prefix: str, cursor: str = "") -> Any:
    async with console.operator() as browser:
        status, text = await browser.get("/console/users/search", params={"prefix": prefix, "cursor": cursor})
    assert status == 200
    return json.loads(text)


async def test_a_prefix_finds_its_users_and_the_whole_login_first(
    console: Console, redis_client: Redis
) -> None:
    await redis_client.sadd(keys.APP_USERS, "bob", "bobby", "bo", "Bob", "alice")
    found = await search(console, "bob")
    assert found["users"][0] == "bob"
    assert sorted(found["users"]) == ["bob", "bobby"]
    assert (found["cursor"], found["total"]) == ("", 5)


@pytest.mark.parametrize(
    ("prefix", "result"), [("x", "0 users found among 3"), ("bob", "1 user found"), ("", "3 users found")]
)
async def test_the_page_says_how_many_users_it_found(
    console: Console, redis_client: Redis, prefix: str, result: str
) -> None:
    await redis_client.sadd(keys.APP_USERS, "bob", "alice", "carol")
    async with console.operator() as browser:
        _, text = await browser.get("/console/users", params={"prefix": prefix})
    assert f">{result}" in text


@pytest.mark.parametrize("login", ["a*c", "a?c", "[a-z]", "a\\c", "a^c", XSS, "é ü/%"])
async def test_characters_of_patterns_have_no_meaning(
    console: Console, redis_client: Redis, login: str
) -> None:
    await redis_client.sadd(keys.APP_USERS, login + "1", "abc1", "a1")
    assert (await search(console, login))["users"] == [login + "1"]


async def test_a_search_among_many_continues_with_its_cursor(redis_client: Redis) -> None:
    logins = [f"user{number:06}" for number in range(60_000)] + ["needle1", "needle2"]
    await redis_client.sadd(keys.APP_USERS, *logins)
    found, cursor, parts = [], "", 0
    made = UserSearch(RedisCommands(redis_client))
    while True:
        part = await made.part("needle", cursor)
        found += part.users
        cursor = part.cursor
        parts += 1
        if not cursor:
            break
    assert sorted(found) == ["needle1", "needle2"]
    assert parts <= 2
    assert SCAN_COUNTS[-1] * STEPS > 60_002
    first = await made.part("user", "")
    assert FOUND_MAX <= len(first.users) < 200
    assert first.cursor


async def test_the_page_escapes_logins(console: Console, redis_client: Redis) -> None:
    await redis_client.sadd(keys.APP_USERS, XSS)
    async with console.operator() as browser:
        status, text = await browser.get("/console/users", params={"prefix": XSS[:3]})
        assert status == 200
        assert "<script>alert" not in text
        assert (await browser.get("/console/users?cursor=-1&prefix=x"))[0] == 200
        assert (await browser.get("/console/users?cursor=x&prefix=%ff"))[0] in (200, 400)


def device(**fields: Any) -> dict[str, Any]:
    known = {
        "client_id": XSS,
        "provider": "apns",
        "device_type": XSS,
        "app": XSS,
        "token": XSS,
        "lane": XSS,
        "reachable": False,
        "reason": "dead_token",
        "text": XSS,
        "last_sync": XSS,
    }
    return known | fields


async def test_a_user_s_devices_are_shown_escaped_and_restored(console: Console) -> None:
    console.devices.known["bob/x"] = [device(), device(reachable=True, reason="", text="", client_id="c2")]
    async with console.operator() as browser:
        status, text = await browser.get("/console/users/bob%2Fx")
        assert status == 200
        assert "<script>alert" not in text
        assert text.count(">Restore<") == 1
        status, location, _ = await browser.submit(
            "/console", "/console/users/bob%2Fx/restore", {"client_id": "c1"}
        )
        assert (status, location) == (303, "/console/users/bob%2Fx")
        assert "POST /console/users/restore c1" in (await browser.get("/console/audit"))[1]
    assert console.devices.restored == ["c1"]


async def test_a_reader_sees_no_button_and_an_unknown_user_is_not_found(console: Console) -> None:
    console.devices.known["bob"] = [device()]
    async with console.operator(await console.named_token("ci", ["read"])) as browser:
        assert ">Restore<" not in (await browser.get("/console/users/bob"))[1]
        assert (await browser.get("/console/users/nobody"))[0] == 404
