"""Pings with `to` over HTTP to a whole worker: sent, refused and explained."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
from redis.asyncio import Redis

from gateway.fanout.explain import USERS_MAX
from gateway.simulators import ApnsSimulator, FcmSimulator
from gateway.store import keys
from protocols.devices import mask
from protocols.ping.addressees import RawToken
from tests.support.providers import provider_settings
from tests.support.rhoconnect import android, apple, lay_users
from tests.support.worker import Worker, working

BOB = apple("ab" * 32, device_app_id="one")
EVE = android("registration-of-eve", device_app_id="two")
TOKEN = {"provider": "apns", "token": "cd" * 32, "app": "one"}
RAW = RawToken("apns", "cd" * 32, "one")
PATH = "/rc/v1/users/ping"


class Running(NamedTuple):
    worker: Worker
    redis: Redis
    apns: ApnsSimulator
    fcm: FcmSimulator

    async def post(self, **body: Any) -> tuple[int, Any]:
        """Ping without a user, and return the status and the JSON of the answer."""
        answer = await self.worker.request("POST", PATH, json={"message": "hello", **body})
        return answer.status, answer.json() if answer.body else answer.ping_id


@pytest.fixture
async def running(tmp_path: Path, redis_address: str, redis_client: Redis) -> AsyncIterator[Running]:
    await lay_users(redis_client, {"bob": [BOB], "eve": [EVE]})
    async with ApnsSimulator() as apns, FcmSimulator() as fcm:
        settings = provider_settings(
            apns, fcm, rhoconnect_push={"port": 0}, ping={"include_id": True}, limits={"users_per_ping": 4}
        )
        async with working(tmp_path, redis_address, settings) as worker:
            yield Running(worker, redis_client, apns, fcm)


async def test_all_users_devices_and_tokens_get_a_ping_with_its_id(running: Running) -> None:
    status, ping_id = await running.post(to={"all_users": True})
    assert status == 200
    report = await running.worker.done(ping_id)
    assert report["counts"] == {"accepted": 2, "rejected": 0, "later": 0}
    assert next(iter(running.apns.received)).payload["ping_id"] == ping_id
    assert next(iter(running.fcm.received)).payload["message"]["data"]["ping_id"] == ping_id

    body = (
        "to[devices][]="
        + EVE.client_id
        + "".join(f"&to[tokens][][{name}]={item}" for name, item in TOKEN.items())
    )
    answer = await running.worker.request(
        "POST", PATH, data=body + "&badge=%2B1", headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    report = await running.worker.done(answer.ping_id)
    rows = {row["client_id"]: row["verdict"] for row in report["devices"]}
    assert rows == {EVE.client_id: "accepted", RAW.client_id: "accepted"}
    assert running.apns.received[-1].payload["aps"]["badge"] == 1
    assert await running.redis.exists(keys.badge(EVE.client_id), keys.badge(RAW.client_id)) == 2


async def test_forms_may_have_to(running: Running) -> None:
    """Brackets, or the JSON of the object; urlencoded, multipart and in the query."""
    ways: list[tuple[dict[str, Any], dict[str, str]]] = [
        ({"to[devices][]": EVE.client_id}, {EVE.client_id: "accepted"}),
        ({"to": json.dumps({"devices": [EVE.client_id]})}, {EVE.client_id: "accepted"}),
        ({f"to[tokens][][{name}]": item for name, item in TOKEN.items()}, {RAW.client_id: "accepted"}),
        ({"to[all_users]": "true", "to[except_users][]": "eve"}, {}),
    ]
    for fields, reached in ways:
        for kind in ("urlencoded", "multipart", "query"):
            sent = {"message": "hello", "badge": "+1", **fields}
            form = aiohttp.FormData(default_to_multipart=kind == "multipart")
            for name, value in sent.items():
                form.add_field(name, value)
            given = {"params": sent} if kind == "query" else {"data": form}
            answer = await running.worker.request("POST", PATH, **given)
            assert answer.status == 200, (kind, fields, answer.body)
            report = await running.worker.done(answer.ping_id)
            rows = {row["client_id"]: row["verdict"] for row in report["devices"]}
            assert rows == reached, (kind, fields)
            assert report["counts"]["accepted"] == 1
    # the numbers of EVE, who got six, and of each other device that got three
    assert running.apns.received[-1].payload["aps"]["badge"] == 3
    for fields, field in (
        ({"to[everybody]": "true"}, "to.everybody"),
        ({"to[devices]": "c1"}, "to.devices"),
        ({"to[tokens][0][token]": "x"}, "to.tokens"),
        ({"to[all_users]": "yes"}, "to.all_users"),
        ({"to": "all"}, "to"),
    ):
        for multipart in (False, True):
            form = aiohttp.FormData(default_to_multipart=multipart)
            form.add_field(*next(iter(fields.items())))
            answer = await running.worker.request("POST", PATH, data=form)
            assert (answer.status, answer.json()["error"]["field"]) == (400, field)


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"to": {"everybody": True}}, 400, "to.everybody"),
        ({"to": {"devices": "c1"}}, 400, "to.devices"),
        ({"to": {"providers": ["ios"]}}, 400, "to.providers[0]"),
        ({"to": {"tokens": [{"provider": "ios", "token": "x"}]}}, 400, "to.tokens[0].provider"),
        ({"user_id": "bob", "to": {"all_users": True}}, 400, "to.all_users"),
        ({"user_id": ["a", "b"], "to": {"devices": ["c", "d", "e"]}}, 413, "to"),
    ],
)
async def test_a_wrong_to_is_refused_by_name(
    running: Running, body: dict[str, Any], status: int, field: str
) -> None:
    found, answer = await running.post(**body)
    assert (found, answer["error"]["field"]) == (status, field)
    line = json.dumps(body).encode() + b"\n"
    kind = {"Content-Type": "application/x-ndjson"}
    bulk = await running.worker.request("POST", "/rc/v1/pings", data=line, headers=kind)
    assert bulk.json()["error"]["field"] == field
    assert await running.redis.xlen(keys.PINGS) == await running.redis.xlen(keys.BROADCASTS) == 0


async def test_an_empty_audience_is_accepted_and_counted(running: Running) -> None:
    status, ping_id = await running.post(to={"apps": ["one"]})
    assert status == 200
    report = await running.worker.done(ping_id)
    assert (report["skipped"], report["devices"]) == ({"empty_audience": 1}, [])
    metrics = (await running.worker.request("GET", "/metrics")).body.decode()
    assert 'rhopush_devices_skipped_total{reason="empty_audience"} 1.0' in metrics


async def test_an_explanation_names_each_device_and_why_others_are_left_out(running: Running) -> None:
    to = {"devices": [BOB.client_id, EVE.client_id, "nobody"], "tokens": [TOKEN], "apps": ["one"]}
    status, found = await running.post(to=to, badge="+1", explain=True)
    assert status == 200
    rows = {row["client_id"]: row for row in found["devices"]}
    assert set(rows) == {BOB.client_id, RAW.client_id}
    assert (rows[BOB.client_id]["user_id"], rows[RAW.client_id]["user_id"]) == ("bob", "")
    assert rows[RAW.client_id]["token"] == mask(RAW.token)
    assert rows[BOB.client_id]["payload"]["aps"]["badge"] == 1
    reasons = {row["client_id"]: (row["reason"], row["user_id"]) for row in found["left_out"]}
    assert reasons == {EVE.client_id: ("app_excluded", "eve"), "nobody": ("unknown_device", "")}
    assert all(row["text"] != row["reason"] for row in found["left_out"])
    assert "cdcd" * 4 not in json.dumps(found)
    assert await running.redis.keys("*badge*") == []

    everybody = {"all_users": True, "except_users": ["bob"], "providers": ["apns"]}
    status, found = await running.post(to=everybody, explain=True)
    assert (status, found["devices"], found["totals"]["users"]) == (200, [], 2)
    assert found["totals"]["by_reason"] == {"user_excluded": 1, "provider_excluded": 1}


async def test_an_explanation_of_too_many_names_what_is_too_long(running: Running) -> None:
    await lay_users(running.redis, {f"user{number}": [] for number in range(USERS_MAX)})
    status, found = await running.post(to={"all_users": True}, explain=True)
    assert (status, found["error"]["field"]) == (413, "to.all_users")
