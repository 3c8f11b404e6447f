"""A session ends with the token or password that began it."""

from redis.asyncio import Redis

from tests.gateway.console.harness import Browser, Console
from tests.gateway.console.test_login import add_admin
from tests.support.worker_core import read_until


async def status_of(browser: Browser) -> int:
    return (await browser.get("/console/api"))[0]


async def test_a_revoked_named_token_ends_its_session(console: Console) -> None:
    token = await console.named_token("ci", ["read"])
    async with console.operator(token) as browser:
        assert (await browser.get("/console"))[0] == 200
        tokens = console.api.services.named_tokens
        assert tokens is not None
        await tokens.revoke("ci")
        assert (await browser.get("/console"))[0] == 303


async def test_a_new_token_of_the_same_name_does_not_restore_the_session(console: Console) -> None:
    token = await console.named_token("ci", ["read"])
    async with console.operator(token) as browser:
        tokens = console.api.services.named_tokens
        assert tokens is not None
        await tokens.revoke("ci")
        await console.named_token("ci", ["admin"])
        assert (await browser.get("/console"))[0] == 303


async def test_a_deleted_token_of_rhoconnect_ends_its_session(console: Console, redis_client: Redis) -> None:
    await add_admin(redis_client, "root", "secret")
    token = {"rho__id": "tok", "value": "tok", "user_id": "root"}
    for name, value in token.items():
        await redis_client.set(f"api_token:tok:{name}", value)
    async with console.operator("tok") as browser:
        await redis_client.delete(*(f"api_token:tok:{name}" for name in token))
        # A valid token stays cached for some seconds.
        assert await read_until(303, lambda: status_of(browser)) == 303


async def test_a_changed_password_and_a_lost_admin_flag_end_a_session(
    console: Console, redis_client: Redis
) -> None:
    await add_admin(redis_client, "root", "secret")
    async with console.browser() as browser:
        await browser.log_in(login="root", password="secret")
        assert (await browser.get("/console"))[0] == 200
        await redis_client.delete("user:root:admin")
        assert (await browser.get("/console"))[0] == 303
        await redis_client.set("user:root:admin", "1")
        await redis_client.set("user:root:hashed_password", "0" * 40)
        assert (await browser.get("/console"))[0] == 303


async def test_an_admin_session_of_the_api_is_no_session_of_the_console(
    console: Console, redis_client: Redis
) -> None:
    await add_admin(redis_client, "root", "secret")
    async with console.browser() as browser:
        status, _, _ = await browser.post("/rc/v1/system/login", data={"login": "root", "password": "secret"})
        assert status == 200
        assert (await browser.get("/console"))[0] == 303
        assert (await browser.log_in(token="wrong"))[0] == 401
