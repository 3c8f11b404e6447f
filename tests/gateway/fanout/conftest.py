"""A simulated provider, and settings that name it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.simulators import ApnsSimulator
from tests.support.providers import TOPIC


@pytest.fixture
async def apns() -> AsyncIterator[ApnsSimulator]:
    async with ApnsSimulator() as simulator:
        yield simulator


@pytest.fixture
def settings(apns: ApnsSimulator) -> dict[str, Any]:
    """APNs alone: an FCM device is one of a provider that is not set up."""
    to_apns = {
        "key_file": str(apns.key_file),
        "key_id": apns.signing_key.key_id,
        "team_id": apns.signing_key.team_id,
        "topic": TOPIC,
        "host": "127.0.0.1",
        "port": apns.port,
        "ca_file": str(apns.ca_file),
    }
    return {"apns": to_apns, "retry": {"apns_5xx_s": 0.1, "unknown_s": 0.1, "jitter": 0.0}}
