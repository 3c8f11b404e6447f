"""The audit in Redis."""

from typing import Any

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from gateway.registry.audit_log import (
    DONE,
    REFUSED_LOGINS,
    REFUSED_LOGINS_OF_CLIENT,
    AuditLog,
    AuditRecord,
    RefusedLogins,
)
from gateway.registry.scopes import ALL_SCOPES, API_TOKEN, Principal
from gateway.store import keys
from gateway.store.client_factory import RedisAddress, client
from protocols.errors import InvalidField
from tests.support.ports import free_port


def record(number: int = 0) -> AuditRecord:
    return AuditRecord("login", "alice", "192.0.2.1", f"POST /rc/v1/admin/things/{number}", DONE)


async def test_a_record_is_read_as_it_was_written(redis_client: Redis) -> None:
    audit = AuditLog(redis_client)
    await audit.record(record())
    page = await audit.page()
    (found,) = page["records"]
    assert found.pop("at").endswith("Z")
    assert found == {
        "kind": "login",
        "who": "alice",
        "client": "192.0.2.1",
        "action": "POST /rc/v1/admin/things/0",
        "outcome": "done",
        "omitted": 0,
    }
    assert page["next_cursor"] is None


async def test_pages_follow_each_other_from_the_newest_on(redis_client: Redis) -> None:
    audit = AuditLog(redis_client)
    for number in range(5):
        await audit.record(record(number))
    seen: list[str] = []
    cursor, pages = None, 0
    while pages == 0 or cursor is not None:
        page = await audit.page(cursor=cursor, limit="2")
        seen += [one["action"][-1] for one in page["records"]]
        cursor, pages = page["next_cursor"], pages + 1
    assert (seen, pages) == (["4", "3", "2", "1", "0"], 3)


async def test_older_records_than_since_are_left_out(redis_client: Redis) -> None:
    audit = AuditLog(redis_client)
    for at_ms in (1_000, 2_000, 3_000):
        await redis_client.xadd(keys.AUDIT, {"r": '{"who":"bob"}'}, id=f"{at_ms}-0")
    found = await audit.page(2_000)
    assert [one["at"] for one in found["records"]] == ["1970-01-01T00:00:03.000Z", "1970-01-01T00:00:02.000Z"]
    assert (await audit.page(-5))["records"][-1]["at"] == "1970-01-01T00:00:01.000Z"


async def test_the_oldest_records_are_dropped(redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "AUDIT_MAX", 3)
    audit = AuditLog(redis_client)
    for number in range(5):
        await audit.record(record(number))
    assert [one["action"][-1] for one in (await audit.page())["records"]] == ["4", "3", "2"]


async def test_a_record_has_a_bounded_size_and_no_control_characters(redis_client: Redis) -> None:
    audit = AuditLog(redis_client)
    for text in ("x" * 10_000, "\U0001f600" * 10_000, '"\\' * 10_000, "\ud800\r\n\x1b" * 10_000):
        await audit.record(AuditRecord(text, text, text, text, text, 10**9))
        await audit.record_login(text, "192.0.2.1", text)
    for _, fields in await redis_client.xrange(keys.AUDIT):
        assert len(fields[b"r"]) <= keys.AUDIT_RECORD_BYTES
        assert b"\\u001b" not in fields[b"r"]
        assert b"\\r" not in fields[b"r"]


async def test_a_damaged_record_hides_no_other(redis_client: Redis) -> None:
    audit = AuditLog(redis_client)
    for damaged in (b"{", b"\xff", b"[]"):
        await redis_client.xadd(keys.AUDIT, {b"r": damaged})
    await redis_client.xadd(keys.AUDIT, {b"other": b"field"})
    await audit.record(record())
    found = [one["outcome"] for one in (await audit.page())["records"]]
    assert found == ["done", "", "unreadable", "unreadable", "unreadable"]


@pytest.mark.parametrize(
    ("field", "values"),
    [("limit", {"limit": "0"}), ("limit", {"limit": "501"}), ("limit", {"limit": True})]
    + [("cursor", {"cursor": text}) for text in ("", "é", "!", "MS0", "LTEtMQ", "+")],
)
async def test_a_wrong_parameter_is_named(redis_client: Redis, field: str, values: dict[str, Any]) -> None:
    with pytest.raises(InvalidField) as caught:
        await AuditLog(redis_client).page(None, values.get("cursor"), values.get("limit"))
    assert caught.value.field == field


@pytest.mark.parametrize("lost", ["unreachable", "refusing"])
async def test_a_record_that_redis_refuses_is_logged(redis_client: Redis, lost: str) -> None:
    redis = client(RedisAddress("127.0.0.1", free_port())) if lost == "unreachable" else redis_client
    await redis_client.set(keys.AUDIT, "of another type")
    with capture_logs() as logs:
        await AuditLog(redis).record(record())
    (event,) = [one for one in logs if one["event"] == "audit_record_lost"]
    assert (event["who"], event["action"]) == ("alice", "POST /rc/v1/admin/things/0")
    await redis.aclose()


async def test_a_flood_of_refused_logins_is_counted_and_not_recorded(redis_client: Redis) -> None:
    audit = AuditLog(redis_client)
    for number in range(100):
        await audit.record_login(f"guess{number}", "192.0.2.1", "login_refused")
    await audit.record_login("alice", "192.0.2.2", DONE)
    await audit.record_login("bob", "192.0.2.3", "login_refused")
    records = (await audit.page())["records"]
    assert len(records) == REFUSED_LOGINS_OF_CLIENT + 2
    assert (records[0]["who"], records[0]["omitted"]) == ("bob", 100 - REFUSED_LOGINS_OF_CLIENT)
    assert (records[1]["who"], records[1]["outcome"], records[1]["omitted"]) == ("alice", "done", 0)


def test_many_clients_have_a_common_limit_in_each_minute() -> None:
    now = [0.0]
    refused = RefusedLogins(lambda: now[0])
    taken = [refused.take(f"client{number}") for number in range(10_000)]
    assert [one is not None for one in taken].count(True) == REFUSED_LOGINS
    assert taken[:REFUSED_LOGINS] == [0] * REFUSED_LOGINS
    now[0] = 60.0
    assert refused.take("client1") == 10_000 - REFUSED_LOGINS


def test_a_record_names_the_kind_of_its_caller() -> None:
    callers = [API_TOKEN, Principal("ci", ALL_SCOPES, None, "ab12"), Principal("rhoadmin", ALL_SCOPES)]
    assert [AuditRecord.of(one, "", "", DONE).kind for one in callers] == ["api_token", "token", "login"]
