"""The routes of webhooks: who may call them, and what they answer."""

from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.errors import NotFound
from tests.gateway.http_api.harness import House, call, house

PATH = "/rc/v1/admin/webhooks"


class Operations:
    """Records calls."""

    def __init__(self) -> None:
        self.replays: list[tuple[str, int]] = []

    async def listing(self) -> list[dict[str, Any]]:
        return [{"name": "crm"}]

    async def replay(self, name: str, since_ms: int) -> dict[str, Any]:
        self.replays.append((name, since_ms))
        return {"endpoint": name}

    async def test(self, name: str) -> dict[str, Any]:
        if name != "crm":
            raise NotFound(f"there is no webhook {name}")
        return {"endpoint": name, "result": "delivered"}


async def ask(api: House, method: str, path: str, body: Any = b"") -> tuple[int, Any]:
    answer = await call(api, body, method=method, path=path)
    return answer.status, answer.json if answer.status != 422 else None


async def test_an_operator_lists_replays_and_tests(redis_client: Redis) -> None:
    operations = Operations()
    async with house(redis_client) as api:
        api.services.webhooks = operations
        assert await ask(api, "GET", PATH) == (200, {"webhooks": [{"name": "crm"}]})
        assert await ask(api, "POST", f"{PATH}/crm/test") == (
            200,
            {"endpoint": "crm", "result": "delivered"},
        )
        body = {"since": "2026-12-01T00:00:00+00:00"}
        assert await ask(api, "POST", f"{PATH}/crm/replay", body) == (200, {"endpoint": "crm"})
        assert operations.replays == [("crm", 1_796_083_200_000)]
        assert (await ask(api, "POST", f"{PATH}/none/test"))[0] == 404


@pytest.mark.parametrize("since", [None, "yesterday", [], {}])
async def test_a_wrong_instant_is_refused(redis_client: Redis, since: Any) -> None:
    async with house(redis_client) as api:
        api.services.webhooks = Operations()
        status, found = await ask(api, "POST", f"{PATH}/crm/replay", {"since": since})
        assert (status, found["error"]["field"]) == (400, "since")


async def test_an_unknown_parameter_of_a_replay_is_refused(redis_client: Redis) -> None:
    async with house(redis_client) as api:
        api.services.webhooks = Operations()
        body = {"since": "2030-01-31T09:30:00Z", "until": "2030-01-31T10:30:00Z"}
        status, found = await ask(api, "POST", f"{PATH}/crm/replay", body)
        assert (status, found["error"]["field"]) == (400, "until")


@pytest.mark.parametrize(
    ("method", "path"), [("GET", PATH), ("POST", f"{PATH}/crm/test"), ("POST", f"{PATH}/crm/replay")]
)
async def test_without_a_token_nothing_is_done(redis_client: Redis, method: str, path: str) -> None:
    async with house(redis_client) as api:
        assert (await call(api, method=method, path=path, token=None)).status == 422


async def test_a_process_without_webhooks_has_none(redis_client: Redis) -> None:
    async with house(redis_client) as api:
        assert await ask(api, "GET", PATH) == (200, {"webhooks": []})
        assert (await ask(api, "POST", f"{PATH}/crm/test"))[0] == 404
