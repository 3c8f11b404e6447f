"""`rhopush check` beside a live RhoConnect: what it finds, and that it leaves every key as it was."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis.asyncio import Redis

from gateway.check.findings import Level
from gateway.check.inventory import Inventory
from gateway.check.migration import judge
from gateway.cli import main
from gateway.settings import EventSettings, Secret, Settings, Source
from tests.support.redis import RedisServer
from tests.support.rhoconnect import Client, android, apple, lay_admin, lay_user, rhoconnect_push_client

NOTHING = Inventory(0, 0, Counter(), Counter(), Counter(), 0, 0, 0, 0, None, 0, ())
BOTH = {"Product": Source(push_notify=True), "News": Source("app", push_notify=True), "Quiet": Source()}


@pytest.fixture(autouse=True)
def no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REDIS", "REDIS_URL", "API_TOKEN", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)


async def lay_rhoconnect(redis: Redis) -> None:
    """A shop that has run RhoConnect for years."""
    await lay_admin(redis, "token-in-redis")
    ann = [
        apple("aa" * 32, device_app_id="com.example.app"),
        android("registration-id"),
        rhoconnect_push_client("legacy-token"),
    ]
    old = [
        Client(device_type="ANDROID", push_type="gcm", pin="gcm-id"),
        Client(device_type="blackberry", pin="x"),
    ]
    await lay_user(redis, "ann", ann)
    await lay_user(redis, "bob:with:colons", [*old, Client(device_type=""), apple("")])
    await lay_user(redis, "eve", [Client(client_id="gone")])
    await redis.delete("client:gone:rho__id")
    await redis.rpush("resque:queue:ping", '{"class":"PingJob","args":[{}]}')
    await redis.sadd("resque:workers", "app1:77:*", "app1:78:mail", "rhopush-ours-12345678:1:ping")
    await redis.sadd("source:application:ann:Product:md:ab", "document")


async def dump(redis: Redis) -> dict[bytes, tuple[bytes | None, int]]:
    """Every key, whole, with its time to live."""
    return {key: (await redis.dump(key), await redis.pttl(key)) async for key in redis.scan_iter()}


@pytest.fixture(autouse=True)
def any_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another gateway on this host may have the default port, and `check` would name it."""
    monkeypatch.setenv("RHOPUSH_RHOCONNECT_PUSH_PORT", "0")


async def check(
    folder: Path, capsys: pytest.CaptureFixture[str], document: dict[str, Any]
) -> tuple[int, list[str]]:
    file = folder / "settings.yml"
    file.write_text(yaml.safe_dump(document))
    status = await asyncio.to_thread(main, ["check", "--settings", str(file), "--env", "production"])
    return status, capsys.readouterr().out.splitlines()


async def test_a_live_rhoconnect_is_described_and_no_key_is_changed(
    redis_client: Redis, redis_address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await lay_rhoconnect(redis_client)
    before = await dump(redis_client)
    sources = {":Product": {":push_notify": "true"}}
    document = {":sources": sources, ":production": {":redis": redis_address, ":api_token": "another"}}
    status, lines = await check(tmp_path, capsys, document)
    assert await dump(redis_client) == before
    assert status == 1
    found = {" ".join(line.split()) for line in lines}
    assert found >= {
        "ok rhoconnect 3 users, devices: 1 Apple, 2 Android, 1 legacy",
        "warn devices no provider reaches 1 'blackberry': their services have ended",
        "warn devices 1 ids without a client: skipped, where RhoConnect fails the whole ping",
        "warn devices 1 registered without a push token: skipped",
        "ok devices 1 logged out: skipped, as by RhoConnect",
        "ok change 1 of type gcm, which RhoConnect dropped, are reached again through FCM",
        "FAIL devices 1 Apple devices would not be served: no credential",
        "FAIL devices 2 Android devices would not be served: no credential",
        "ok push_notify RhoConnect itself pushes changes of Product",
        "ok resque 1 jobs wait in ping",
        "warn resque other workers take from ping, and push as RhoConnect does: app1:77:*",
    }
    assert any(line.startswith("warn  auth.devices ") for line in lines)
    assert any(line.startswith("warn  api_token ") for line in lines)
    assert not any("token-in-redis" in line or "another" in line.partition("api_token")[0] for line in lines)


async def test_every_redis_of_documents_is_examined(
    redis_client: Redis, redis_address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with RedisServer("valkey") as second:
        listed = [redis_address, second.address, f"unix://{tmp_path}/none"]
        _, lines = await check(tmp_path, capsys, {"production": {"redis": listed}})
    found = [line for line in lines if "redis (documents)" in line]
    assert [line.split()[0] for line in found] == ["ok", "FAIL"]


async def test_jobs_and_workers_are_counted_in_the_namespace_of_the_settings(
    redis_client: Redis, redis_address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await lay_rhoconnect(redis_client)
    await redis_client.rpush("jobs:queue:ping", *(["{}"] * 3))
    await redis_client.sadd("jobs:workers", "app9:1:ping", "app9:2:mail")
    resque = {"redis": redis_address.replace("db=0", "db=0&namespace=jobs")}
    _, lines = await check(
        tmp_path, capsys, {"production": {"redis": redis_address, "gateway": {"resque": resque}}}
    )
    found = {" ".join(line.split()) for line in lines}
    assert found >= {
        "ok resque 3 jobs wait in ping",
        "warn resque other workers take from ping, and push as RhoConnect does: app9:1:ping",
    }


async def test_an_empty_redis_is_no_rhoconnect(
    redis_client: Redis, redis_address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, lines = await check(tmp_path, capsys, {"production": {"redis": redis_address}})
    assert (status, [line for line in lines if "rhoconnect" in line]) == (0, [])


@pytest.mark.parametrize(
    ("events", "level", "words"),
    [
        (EventSettings(keyspace="listen"), Level.BAD, "changes of Product would push twice"),
        (EventSettings(keyspace="listen", sources=("Quiet",)), Level.GOOD, "itself pushes"),
        (EventSettings(), Level.WARNING, "are pushed twice if they are also published"),
        (EventSettings(channels=(), streams=()), Level.GOOD, "itself pushes"),
    ],
)
def test_sources_that_would_push_twice_are_reported(events: EventSettings, level: Level, words: str) -> None:
    found = [
        finding
        for finding in judge(NOTHING, Settings(sources=BOTH, events=events))
        if finding.subject == "push_notify"
    ]
    assert found[-1].level is level
    assert words in found[-1].text
    assert "News" not in found[-1].text


def test_the_examined_part_of_a_large_installation_is_stated() -> None:
    inventory = NOTHING._replace(users=60_000, users_examined=50_000)
    assert next(judge(inventory, Settings())).text.startswith("60000 users (the first 50000 looked at)")


def test_the_same_token_in_redis_and_settings_causes_no_warning() -> None:
    inventory = NOTHING._replace(admin_token="same")
    assert not [
        one for one in judge(inventory, Settings(api_token=Secret("same"))) if one.subject == "api_token"
    ]
