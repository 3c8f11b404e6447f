"""Pings whose caller waits for the verdict of every device (`wait=true`)."""

from typing import Any

import pytest

from gateway.errors import StoreDown
from tests.gateway.http_api.harness import House, call, request, wire

FAILED = {
    "state": "done",
    "devices": [
        {"client_id": "a", "verdict": "accepted"},
        {"client_id": "b", "provider": "apns", "verdict": "rejected", "reason": "BadDeviceToken"},
        {"client_id": "c", "provider": "fcm", "verdict": "rejected", "reason": "UNREGISTERED"},
    ],
}


async def test_waiting_until_every_device_accepted(both: House) -> None:
    both.reports.finished = {"state": "done", "devices": [{"client_id": "a", "verdict": "accepted"}]}
    answer = await call(both, {"user_id": "bob", "wait": True})
    assert (answer.status, answer.body) == (200, b"")
    assert both.queue.pings[0].reply_to == "channel-of-this-process"
    assert both.reports.waited_s == [30.0]


async def test_waiting_for_errors_answers_as_rhoconnect_does(both: House) -> None:
    both.reports.finished = FAILED
    answer = await call(both, {"user_id": "bob", "wait": "true"})
    assert answer.status == 500
    assert answer.headers["content-type"] == "text/html;charset=utf-8"
    assert answer.body == rb"apns: BadDeviceToken\nfcm: UNREGISTERED"
    seen = await call(both, {"user_id": "bob", "wait": True}, headers={"Prefer": 'return="representation"'})
    assert (seen.status, seen.json["devices"]) == (500, FAILED["devices"])


@pytest.mark.parametrize(
    ("failure", "status"), [(StoreDown("Redis is away"), 503), (ZeroDivisionError("a defect"), 500)]
)
async def test_a_wait_that_fails_is_answered_too(
    both: House, monkeypatch: pytest.MonkeyPatch, failure: Exception, status: int
) -> None:
    async def failing(*_: Any) -> None:
        raise failure

    monkeypatch.setattr(both.reports, "outcome", failing)
    answer = await call(both, {"user_id": "bob", "wait": True})
    assert answer.status == status
    assert "defect" not in answer.body.decode()


async def test_waited_pings_of_one_connection_are_answered_in_order(api: House) -> None:
    """Each is queued as it comes: a wait holds no later ping of its connection up, only that ping's answer."""
    api.reports.finished = {"state": "done", "devices": []}
    async with wire(api.port) as client:
        client.send(request({"user_id": "bob"}))
        await client.answer()  # the token is known from now on
        api.queue.holding = True
        client.send(request({"user_id": "bob", "wait": True}) + request({"user_id": "eve"}))
        await api.queue.has(3)
        api.queue.commit()
        assert [(await client.answer()).headers["x-ping-id"][-1] for _ in range(2)] == ["1", "2"]


async def test_waiting_too_long_is_504_with_the_verdicts_so_far(both: House) -> None:
    both.reports.known["0" * 32] = {"state": "open"}
    answer = await call(both, {"user_id": "bob", "wait": True})
    assert answer.status == 504
    assert answer.json["error"]["code"] == "still_open"
    assert answer.json["report"] == {"state": "open"}
    assert answer.headers["x-ping-id"] == "0" * 32


@pytest.mark.parametrize(
    ("prefer", "waited_s"),
    [
        ("wait=8", 8.0),
        ('return=minimal, WAIT = "0"; of=patience', 0.0),
        ("wait=8, wait=9", 8.0),  # RFC 7240 §2: the first counts
        ("wait=3600", 30.0),  # never longer than ping.wait_max_s
        *((value, 30.0) for value in ("wait=-1", "wait=9999999", "wait=0.5", "wait=", "wait=1_0", "wait")),
    ],
)
async def test_a_caller_may_wait_for_less_than_the_setting_allows(
    both: House, prefer: str, waited_s: float
) -> None:
    answer = await call(both, {"user_id": "bob", "wait": True}, headers={"Prefer": prefer})
    assert answer.status == 504
    assert both.reports.waited_s == [waited_s]
