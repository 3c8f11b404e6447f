"""Webhooks of a worker: pings of an ingress end as events, and a reload is applied."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.errors import BadSetting
from gateway.server.webhooks import check_ca_files
from gateway.settings import Secret, Settings, WebhookSettings
from gateway.simulators import ApnsSimulator
from protocols.webhooks.events import LANE_DOWN, PING_COMPLETED
from tests.support.ports import free_port
from tests.support.rhoconnect import apple, lay_user
from tests.support.webhooks import SECRET, receiving
from tests.support.worker import working


async def test_the_end_of_a_ping_and_a_lane_that_is_down_are_reported(
    tmp_path: Path, redis_address: str, redis_client: Redis
) -> None:
    """APNs cannot be reached: the ping ends by its time to live, and the lane is reported once."""
    await lay_user(redis_client, "bob", [apple("ab" * 32)])
    key = tmp_path / "AuthKey.p8"
    async with receiving() as receiver:
        settings: dict[str, Any] = {
            "webhooks": {"crm": receiver.settings(PING_COMPLETED, LANE_DOWN)},
            "rhoconnect_push": {"mode": "off"},
        }
        async with ApnsSimulator() as apns:
            key.write_bytes(apns.key_file.read_bytes())
            settings["apns"] = {
                "key_file": str(key),
                "key_id": apns.signing_key.key_id,
                "team_id": apns.signing_key.team_id,
                "topic": "com.example.app",
                "host": "127.0.0.1",
                "port": free_port(),
                "ca_file": str(apns.ca_file),
            }
            async with working(tmp_path, redis_address, settings) as worker:
                done = await worker.accepted("nobody")
                expired = await worker.accepted("bob", ttl_s=1)
                await receiver.until(lambda: len(receiver.events(PING_COMPLETED)) == 2)
                await receiver.until(lambda: receiver.events(LANE_DOWN))
    assert [event["ping_id"] for event in receiver.events(PING_COMPLETED)] == [done, expired]
    assert [event["counts"] for event in receiver.events(PING_COMPLETED)] == [
        {"accepted": 0, "rejected": 0},
        {"accepted": 0, "rejected": 1},
    ]
    (down,) = receiver.events(LANE_DOWN)
    assert (down["provider"], down["lane"].split(":")[0]) == ("apns", "apns")


async def test_pings_of_every_ingress_have_events(
    tmp_path: Path, redis_address: str, redis_client: Redis
) -> None:
    async with receiving() as receiver:
        settings = {
            "webhooks": {"crm": receiver.settings(PING_COMPLETED)},
            "events": {"window_ms": 1, "sources": ["Product"]},
        }
        async with working(tmp_path, redis_address, settings) as worker:
            await worker.accepted("nobody")
            job = {"class": "PingJob", "args": [{"user_id": ["nobody"], "message": "hello"}]}
            await redis_client.rpush("resque:queue:ping", json.dumps(job))
            change = {"source": "Product", "user_id": "nobody"}
            await redis_client.publish("rhoconnect:changes", json.dumps(change))
            await receiver.until(lambda: len(receiver.events(PING_COMPLETED)) == 3)
            shown = (await worker.request("GET", "/metrics")).body.decode()
    counts = dict(re.findall(r'pings_accepted_total\{ingress="(\w+)"\} (\d)', shown))
    assert counts == {"http": "1", "resque": "1", "change_events": "1"}
    assert len({event["ping_id"] for event in receiver.events(PING_COMPLETED)}) == 3


def test_a_file_of_authorities_that_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    crm = WebhookSettings(Secret("https://crm/"), (Secret(SECRET),), ("lane.up",), tmp_path / "none.pem")
    with pytest.raises(BadSetting, match=r"^webhooks\.crm\.ca_file: "):
        check_ca_files(Settings(webhooks={"crm": crm}))
    check_ca_files(Settings())
