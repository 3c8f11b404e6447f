"""The checks of Redis together: the problems of each are reported, and both run at the start and repeatedly."""

from pathlib import Path

import pytest
import yaml

from gateway.errors import BadSetting
from gateway.metrics import Metrics
from gateway.server.redis_checks import RedisChecks
from gateway.settings import Settings, load
from tests.support.redis import RedisServer, store_client


def loaded(folder: Path, address: str, durability: str = "memory") -> Settings:
    file = folder / "settings.yml"
    gateway = {"queue": {"durability": durability}, "rhoconnect_push": {"mode": "off"}}
    file.write_text(yaml.safe_dump({"development": {"redis": address, "gateway": gateway}}))
    return load(file, "development", {})


async def test_a_start_without_the_required_durability_is_refused(redis_address: str, tmp_path: Path) -> None:
    checks = RedisChecks(loaded(tmp_path, redis_address, "aof"), Metrics())
    with pytest.raises(BadSetting, match="append-only file is off"):
        await checks.require()


async def test_problems_of_both_checks_are_reported_and_end(tmp_path: Path) -> None:
    with RedisServer("redis", persist=True) as server:
        async with store_client(server.socket) as redis:
            await redis.execute_command("ACL", "SETUSER", "few", "on", ">pw", "~*", "&*", "+@all")
            address = server.address.replace("unix://", "unix://few:pw@")
            checks = RedisChecks(loaded(tmp_path, address, "aof"), Metrics())
            await checks.require()
            assert checks.problems == {}
            await redis.config_set("appendonly", "no")
            await _run(checks)
            assert "append-only file is off" in checks.problems["redis"]
            await redis.config_set("appendonly", "yes")
            await redis.execute_command("ACL", "SETUSER", "few", "-xadd")
            await _run(checks)
            assert "append-only" not in "".join(checks.problems.values())
            assert "XADD" in "".join(checks.problems.values()).upper()
            await redis.execute_command("ACL", "SETUSER", "few", "+xadd")
            await _run(checks)
            assert checks.problems == {}


async def _run(checks: RedisChecks) -> None:
    for check, _ in checks.repeated:
        await check()
