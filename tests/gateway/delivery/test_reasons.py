"""Reasons as metric labels: a provider cannot make time series."""

from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from gateway.delivery.provider_registry import installed
from gateway.delivery.reasons import OTHER, OWN, reason_label
from gateway.store import keys
from protocols.apns import verdicts as apns
from protocols.errors import InvalidToken, PayloadTooLarge, RhoPushError
from protocols.fcm import verdicts as fcm
from protocols.http2.server import StreamRequest
from protocols.rhoconnect_push import verdicts as rhoconnect_push
from tests.support.http2 import status
from tests.support.provider import Peer, Provider
from tests.support.rhoconnect import apple, lay_users
from tests.support.worker_core import pipeline


@pytest.mark.parametrize(
    "known",
    [
        *sorted(OWN),
        "HTTP 503",
        InvalidToken.label,
        PayloadTooLarge.label,
        RhoPushError.label,
        "store_down",
        "gave_up:deadline",
    ],
)
def test_the_gateways_own_reasons_are_labels(known: str) -> None:
    assert reason_label(known) == known


@pytest.mark.parametrize(
    ("provider", "known"),
    [
        *(("apns", reason) for _, reason in apns.REASONS),
        *(("fcm", reason) for reason in fcm.REASONS),
        *(("rhoconnect_push", verdict.reason) for verdict in rhoconnect_push.STATUSES.values()),
        ("fcm", "PERMISSION_DENIED"),
        ("apns", "gave_up:InternalServerError"),
    ],
)
def test_the_reasons_of_a_providers_table_are_labels(provider: str, known: str) -> None:
    found = installed().get(provider)
    assert found is not None
    assert reason_label(known, found.reasons) == known


def test_a_reason_of_one_provider_is_no_label_of_another() -> None:
    assert reason_label("BadDeviceToken") == OTHER


@pytest.mark.parametrize("unknown", ["BrandNew", "HTTP 599", "unregistered2", "x" * 64, "gave_up ", "é"])
def test_all_other_reasons_have_one_label(unknown: str) -> None:
    assert reason_label(unknown) == OTHER
    assert reason_label(f"gave_up:{unknown}") == "gave_up"


@pytest.mark.parametrize("code", [400, 500])
async def test_a_new_reason_is_other_in_metrics_and_complete_in_receipt_and_log(
    redis_address: str, redis_client: Redis, tmp_path: Path, settings: dict[str, Any], code: int
) -> None:
    """400 is final; 500 is retried, and given up at once."""

    def script(peer: Peer, request: StreamRequest) -> None:
        new = b'{"reason": "BrandNew%d"}' % request.stream_id
        peer.machine.respond(request.stream_id, status(code), new)

    users = [f"user{number}" for number in range(5)]
    await lay_users(redis_client, {user: [apple(f"{place:064x}")] for place, user in enumerate(users)})
    async with Provider(script) as provider:
        ca_file = tmp_path / "ca.pem"
        provider.ca.cert_pem.write_to_path(str(ca_file))
        settings["apns"] |= {"ca_file": str(ca_file), "port": provider.port}
        settings["retry"] = {"give_up_s": 1}
        async with pipeline(redis_address, tmp_path, settings) as one:
            with capture_logs() as logs:
                ping_id = await one.append(*users)
                await one.planner.deliver(await one.read(keys.PINGS))
                report = await one.done(ping_id)
            (lane,) = one.lanes.all()
            labels = {
                sample.labels["reason"]
                for family in lane._metrics.registry.collect()
                for sample in family.samples
                if sample.name in ("rhopush_deliveries_total", "rhopush_retries_total")
            }
    said = {device["reason"].removeprefix("gave_up:") for device in report["devices"]}
    assert len(said) == len(users)
    assert all(reason.startswith("BrandNew") for reason in said)
    assert labels == {OTHER if code == 400 else "gave_up"}
    told = [entry for entry in logs if entry["event"] == "unknown_provider_reason"]
    assert len(told) == 1
    assert told[0]["reason"].removeprefix("gave_up:") in said


async def test_an_app_without_settings_is_no_label(
    redis_address: str, redis_client: Redis, tmp_path: Path, settings: dict[str, Any]
) -> None:
    """A device says what its app is."""
    users = [f"user{number}" for number in range(5)]
    phones = {user: [apple(f"{place:064x}", device_app_id=f"app{place}")] for place, user in enumerate(users)}
    await lay_users(redis_client, phones)
    async with pipeline(redis_address, tmp_path, settings) as one:
        ping_id = await one.append(*users)
        await one.planner.deliver(await one.read(keys.PINGS))
        assert (await one.done(ping_id))["counts"]["accepted"] == len(users)
        (lane,) = one.lanes.all()
        assert {""} == {
            sample.labels["app"]
            for family in lane._metrics.registry.collect()
            for sample in family.samples
            if sample.name == "rhopush_deliveries_total"
        }
