"""The routes of the queue: numbers, and entries that could not be read."""

import base64

from gateway.queue.entries import encode
from gateway.store import keys
from tests.gateway.http_api.admin.conftest import Served

BASE = "/rc/v1/admin/queue"


async def test_the_numbers_come_with_their_limits(served: Served) -> None:
    await served.redis.hset(keys.PARKED, mapping={"apns:A": 3, "none": 0})
    await served.redis.hset(keys.STATS, mapping={"scheduled_pings": 2})
    answer = await served.worker.request("GET", BASE)
    assert answer.status == 200
    found = answer.json()
    assert [stream["name"] for stream in found["streams"]] == ["pings", "retries", "broadcasts", "chunks"]
    assert (found["pings"], found["scheduled_pings"], found["parked"]) == (0, 2, {"apns:A": 3})
    assert found["limits"]["queue_pings"] == 1_000_000
    assert found["limits"]["receipt_bytes"] > 0


async def test_an_unreadable_entry_is_listed_shown_requeued_and_dropped(served: Served) -> None:
    worker = served.worker
    await served.redis.xadd(keys.PINGS, {"e": b"\xc1", "n": 1, "s": 10})
    records: list[dict[str, object]] = []
    while not records:
        records = (await worker.request("GET", f"{BASE}/unreadable")).json()["records"]
    (record,) = records
    assert (record["stream"], record["stored"]) == ("pings", True)
    assert "not a queue entry" in str(record["reason"])
    path = f"{BASE}/unreadable/{record['record']}"
    shown = (await worker.request("GET", path)).json()
    assert [base64.b64decode(one["base64"]) for one in shown["fields"]] == [b"\xc1", b"1", b"10"]

    answer = await worker.request("POST", f"{path}/requeue")
    assert (answer.status, answer.json()["stream"]) == (200, "pings")
    again = await worker.request("POST", f"{path}/requeue")
    assert (again.status, again.json()["error"]["field"]) == (404, "record")
    records = []
    while not records:  # a worker has read the entry again, and put it aside again
        records = (await worker.request("GET", f"{BASE}/unreadable")).json()["records"]
    path = f"{BASE}/unreadable/{records[0]['record']}"
    assert (await worker.request("DELETE", path)).json()["dropped"] is True
    assert (await worker.request("DELETE", path)).status == 404
    assert (await worker.request("GET", path)).status == 404


async def test_an_entry_that_was_not_stored_and_a_wrong_cursor_are_refused(served: Served) -> None:
    record = {"size": 200, "stream": keys.PINGS, "entry": "1-0", "reason": "too long", "at_ms": 5}
    long = (await served.redis.xadd(keys.UNREADABLE, record)).decode()
    foreign = (
        await served.redis.xadd(keys.UNREADABLE, record | {"stream": "user:1", "fields": encode([b"e", b""])})
    ).decode()
    for name in (long, foreign):
        answer = await served.worker.request("POST", f"{BASE}/unreadable/{name}/requeue")
        assert (answer.status, answer.json()["error"]["code"]) == (409, "not_stored")
    for wrong in ("x", "0-0", "00-0"):
        answer = await served.worker.request("GET", f"{BASE}/unreadable?cursor={wrong}")
        assert (answer.status, answer.json()["error"]["field"]) == (400, "cursor")
        assert (await served.worker.request("GET", f"{BASE}/unreadable/{wrong}")).status == 404


async def test_without_a_token_nothing_is_shown(served: Served) -> None:
    answer = await served.worker.request("GET", BASE, headers={"X-RhoConnect-API-TOKEN": "wrong"})
    assert answer.status == 422
