"""The route that cancels a ping."""

import pytest
from redis.asyncio import Redis

from gateway.errors import CancellationsFull, NotFound, PingFinished, RhoPushError, StoreDown
from gateway.http_api.context import HandlerContext
from gateway.registry.audit_log import AuditLog
from gateway.registry.scopes import Principal, Scope
from tests.gateway.http_api.harness import House, call

ID = "0" * 32
PATH = f"/rc/v1/pings/{ID}"


class Canceller:
    """Returns a state, or raises an error."""

    def __init__(self, outcome: str | RhoPushError) -> None:
        self.outcome = outcome
        self.asked: list[str] = []

    async def cancel(self, ping_id: str) -> str:
        self.asked.append(ping_id)
        if isinstance(self.outcome, RhoPushError):
            raise self.outcome
        return self.outcome


@pytest.mark.parametrize("state", ["open", "cancelled"])
async def test_a_durable_cancellation_is_202(both: House, state: str) -> None:
    canceller = both.services.canceller = Canceller(state)
    answer = await call(both, method="DELETE", path=PATH)
    assert (answer.status, answer.json) == (202, {"ping_id": ID, "state": state})
    assert canceller.asked == [ID]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (NotFound("unknown", field="ping_id"), 404, "not_found"),
        (PingFinished("finished", field="ping_id"), 409, "ping_finished"),
        (CancellationsFull("full"), 503, "cancellations_full"),
        (StoreDown("no replica"), 503, "store_unavailable"),
    ],
)
async def test_refusals_are_json(both: House, error: RhoPushError, status: int, code: str) -> None:
    both.services.canceller = Canceller(error)
    answer = await call(both, method="DELETE", path=PATH)
    assert (answer.status, answer.error["code"]) == (status, code)
    assert ("retry-after" in answer.headers) == (status == 503)


async def test_it_needs_a_token(both: House) -> None:
    canceller = both.services.canceller = Canceller("open")
    assert (await call(both, method="DELETE", path=PATH, token=None)).status == 422
    assert canceller.asked == []


@pytest.mark.parametrize(("apps", "status"), [(("shop",), 202), (("shop", "news"), 404), (None, 404)])
async def test_a_caller_that_is_limited_to_apps_cancels_its_own_pings_alone(
    api: House, monkeypatch: pytest.MonkeyPatch, apps: tuple[str, ...] | None, status: int
) -> None:
    caller = Principal("shop", frozenset({Scope.PING}), frozenset({"shop"}))

    async def limited(*_: object) -> Principal:
        return caller

    monkeypatch.setattr(HandlerContext, "principal_of", limited)
    canceller = api.services.canceller = Canceller("open")
    limit = {} if apps is None else {"apps": list(apps)}
    api.reports.known[ID] = {"ping_id": ID, "state": "open", **limit}
    assert (await call(api, method="DELETE", path=PATH)).status == status
    assert canceller.asked == ([ID] if status == 202 else [])


async def test_refusals_are_in_the_audit(api: House, redis_client: Redis) -> None:
    log = api.services.audit_log = AuditLog(redis_client)
    api.services.canceller = Canceller(PingFinished("finished", field="ping_id"))
    await call(api, method="DELETE", path=PATH)
    (record,) = (await log.page())["records"]
    assert (record["action"], record["outcome"]) == (f"DELETE {PATH}", "ping_finished")


async def test_a_process_that_cancels_no_pings(both: House) -> None:
    assert (await call(both, method="DELETE", path=PATH)).status == 404


async def test_the_openapi_document_has_its_responses(api: House) -> None:
    found = (await call(api, method="GET", path="/openapi.json")).json["paths"]["/rc/v1/pings/{ping_id}"]
    assert {"202", "404", "409", "503"} <= set(found["delete"]["responses"])
    assert "200" not in found["delete"]["responses"]
