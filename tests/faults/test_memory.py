"""Memory of supervisor and workers during one ping to 100,000 users, until the last verdict."""

import asyncio
import io
import json
from pathlib import Path

import pytest

from gateway.simulators import ApnsOptions, ApnsSimulator, FcmSimulator, Hosting
from tests.support.gateway import Gateway
from tests.support.providers import provider_settings
from tests.support.redis import store_client
from tests.support.rhoconnect import apple, lay_users

USERS = 100_000
DEVICES = 30_000
"""Users that exist and have a device: many more than the deliveries that the workers hold at a time."""
WORKERS = 2
LIMIT_MB = 300
GROWTH_MB = 30
"""A further kilobyte for each delivery would exceed it."""
_PATIENCE_S = 90


def pss_kb(pid: int) -> int:
    """The process' share of memory: its private pages, and its part of the shared ones (proc(5))."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:  # the process has ended
        return 0
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))


async def watch(gateway: Gateway, peaks: list[int]) -> None:
    """Record the highest sum over supervisor and workers, and the first one."""
    while True:
        total = sum(map(pss_kb, gateway.pids))
        peaks[1] = max(peaks[1], total)
        peaks[0] = peaks[0] or total
        await asyncio.sleep(0.1)


@pytest.mark.timeout(240)
async def test_a_broadcast_to_100_000_users_stays_small(
    short_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hosting = Hosting(accept_all=True)  # only counts, so that the provider is not measured
    async with ApnsSimulator(ApnsOptions(), hosting) as apns, FcmSimulator() as fcm:
        gateway = Gateway(short_path, provider_settings(apns, fcm), workers=WORKERS, fresh=True)
        try:
            await gateway.start()
            socket = gateway.data_dir / "valkey" / "valkey.sock"
            users = [f"user{n:06d}@example.com" for n in range(USERS)]
            async with store_client(socket) as redis:
                await lay_users(redis, {user: [apple(f"{n:064x}")] for n, user in enumerate(users[:DEVICES])})
            peaks = [0, 0]
            watching = asyncio.create_task(watch(gateway, peaks))
            body = io.BytesIO(json.dumps({"user_id": users, "message": "hello, all of you"}).encode())
            headers = {"Content-Type": "application/json"}
            answer = await gateway.request("POST", "/rc/v1/users/ping", data=body, headers=headers)
            assert answer.status == 200
            report = await finished(gateway, answer.ping_id)
            watching.cancel()
        finally:
            await gateway.close()
    with capsys.disabled():
        print(f"\n{USERS} users: {peaks[0] / 1024:.0f} MB at first, {peaks[1] / 1024:.0f} MB at most")
    assert report["counts"] == {"accepted": DEVICES, "rejected": 0, "later": 0}
    assert report["skipped"] == {"unknown_user": USERS - DEVICES}
    assert apns.answered == DEVICES
    assert peaks[1] < LIMIT_MB * 1024
    assert peaks[1] - peaks[0] < GROWTH_MB * 1024


async def finished(gateway: Gateway, ping_id: str) -> dict[str, object]:
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            answer = await gateway.request("GET", f"/rc/v1/pings/{ping_id}")
            report: dict[str, object] = answer.json()
            if report["state"] == "done":
                return report
            await asyncio.sleep(0.1)
