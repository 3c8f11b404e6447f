"""`rhopush check --clean` removes the data of gateways and nothing else."""

import asyncio
import io
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis.asyncio import Redis

from gateway.cli import main
from gateway.simulators import ApnsOptions, ApnsSimulator, FcmSimulator
from tests.conftest import StartGateway
from tests.support.gateway import TOKEN
from tests.support.providers import provider_settings
from tests.support.redis import store_client
from tests.support.rhoconnect import apple, lay_admin, lay_user, rhoconnect_push_client

ODD = 'Ann O\'Hara "the" \\ blank'


@pytest.fixture(autouse=True)
def no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REDIS", "REDIS_URL", "API_TOKEN", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)


async def dump(redis: Redis) -> dict[bytes, bytes | None]:
    return {key: await redis.dump(key) async for key in redis.scan_iter()}


async def clean(folder: Path, redis: str, *options: str, **gateway: Any) -> int:
    file = folder / "clean.yml"
    file.write_text(yaml.safe_dump({"production": {"redis": redis, "gateway": gateway}}))
    arguments = ["check", "--settings", str(file), "--env", "production", "--clean", *options]
    return await asyncio.to_thread(main, arguments)


async def lay_leftovers(redis: Redis) -> None:
    await redis.set(f"rhopush:snapshot:{ODD}", "x")
    await redis.set("rhopush:dead:one", "x")
    await redis.set("rhopush:dead:two\nlines", "x")
    await redis.hset("rhopush:{q}:stats", "pings", "3")
    await redis.zadd("rhopush:{q}:resque:takers", {"gateway-a": 1})
    await redis.hset("rhopush:{q}:resque:taken:gateway-a", mapping={"1": "ping\0{}", "2": "ping\0{}"})


async def lay_others(redis: Redis) -> None:
    await lay_admin(redis, TOKEN)
    await lay_user(redis, ODD, [apple("aa" * 32), rhoconnect_push_client("pin")])
    await redis.set("rhopushed:not-ours", "x")
    await redis.set("tok:pin", "instance")
    await redis.sadd("reg:instance", '{"token":"pin","appname":"app"}')
    await redis.sadd("resque:workers", "app1:77:*")


async def test_the_data_of_gateways_is_removed_and_nothing_else(
    redis_client: Redis, redis_address: str, start_gateway: StartGateway, tmp_path: Path
) -> None:
    """A gateway that served every way in, on two databases."""
    queue_address = redis_address.replace("db=0", "db=1")
    await lay_others(redis_client)
    await redis_client.xadd("rhoconnect:changes", {"event": '{"source": "Product", "user_id": "nobody"}'})
    before = await dump(redis_client)
    async with ApnsSimulator() as apns, FcmSimulator() as fcm:
        gateway = await start_gateway(
            provider_settings(apns, fcm, queue={"redis": queue_address}), app={"redis": redis_address}
        )
        assert (await gateway.ping(ODD, message="hello", wait=True)).status == 200
        assert (await gateway.ping([f"user {n}" for n in range(300)], message="hello")).status == 200
        await gateway.stop()
    mine = {key for key in await dump(redis_client) if key not in before}
    assert {key for key in mine if key.startswith(b"rhopush:")}, "the gateway leaves something to clean"
    assert await clean(tmp_path, redis_address, "--yes", queue={"redis": queue_address}) == 0
    left = await dump(redis_client)
    # The mailbox of the device is rhoconnect-push's own layout: its messages stay.
    mailbox = {key for key in left if key.split(b":")[0] in (b"cnt", b"que", b"col")}
    assert left.keys() - mailbox == before.keys()
    assert await redis_client.xinfo_groups("rhoconnect:changes") == []
    second = redis_client.connection_pool.connection_kwargs | {"db": 1}
    async with store_client(second["path"], db=1) as queue:
        assert await queue.keys("*") == []


@pytest.mark.parametrize("answer", ["", "n\n", "remove\n"])
async def test_it_lists_the_data_and_asks_for_confirmation(
    redis_client: Redis,
    redis_address: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
) -> None:
    await lay_others(redis_client)
    await lay_leftovers(redis_client)
    await redis_client.sadd("resque:workers", "rhopush-ours-1234:1:ping")
    await redis_client.xgroup_create("rhoconnect:changes", "rhopush", mkstream=True)
    before = await dump(redis_client)
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    assert await clean(tmp_path, redis_address) == 1
    assert await dump(redis_client) == before
    lines = capsys.readouterr().out.replace(redis_address.replace("?db=0", ""), "REDIS").splitlines()
    assert [line.split(": ", 1)[1] for line in lines[:-1]] == [
        "2 keys rhopush:dead:*",
        "1 keys rhopush:snapshot:*",
        "2 keys rhopush:{q}:resque:*",
        "1 keys rhopush:{q}:stats",
        "consumer group rhopush of stream rhoconnect:changes",
        "Resque worker rhopush-ours-1234:1:ping",
        "3 accepted pings are not finished: they will be lost",
        "2 jobs taken from Resque are not queued yet: they will be lost",
    ]
    assert lines[-1].endswith("[y/N] Nothing was removed.")


async def test_deliveries_that_wait_for_another_attempt_are_counted_as_lost(
    redis_client: Redis,
    redis_address: str,
    start_gateway: StartGateway,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Their pings are not in the queue any more."""
    await lay_user(redis_client, "bob", [apple("b" * 64)])
    async with ApnsSimulator(ApnsOptions(faults=["503"])) as apns, FcmSimulator() as fcm:
        settings = provider_settings(apns, fcm, auth={"devices": "off"})
        gateway = await start_gateway(settings, app={"redis": redis_address})
        for number in (1, 2):
            await gateway.ping("bob", message="hello")
            await apns.received.wait(number)
        await gateway.stop()
    await redis_client.xadd("rhopush:{q}:pieces", {"part": "of a broadcast"})
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert await clean(tmp_path, redis_address) == 1
    assert "3 batches of deliveries wait for an attempt: they will be lost\n" in capsys.readouterr().out


async def test_a_stream_that_only_a_gateway_created_is_removed(
    redis_client: Redis, redis_address: str, start_gateway: StartGateway, tmp_path: Path
) -> None:
    """One with an entry, now or before, or with another group belongs to another program."""
    used = {"read", "waiting", "shared"}
    for name in ("read", "waiting"):
        await redis_client.xadd(name, {"event": "{}"}, id="1-1")
    await redis_client.xdel("read", "1-1")
    await redis_client.xgroup_create("shared", "another", mkstream=True)
    for name in used:
        await redis_client.xgroup_create(name, "rhopush", id="$")
    streams = ["rhoconnect:changes", *used]
    gateway = await start_gateway({"events": {"streams": streams}}, app={"redis": redis_address})
    await gateway.stop()
    assert await redis_client.exists("rhoconnect:changes")
    assert await clean(tmp_path, redis_address, "--yes", events={"streams": streams}) == 0
    left = {name.decode() for name in await redis_client.keys("*")}
    assert left == used
    assert [group["name"] for group in await redis_client.xinfo_groups("shared")] == [b"another"]


async def test_names_that_a_terminal_would_obey_are_escaped(
    redis_client: Redis, redis_address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await redis_client.sadd("resque:workers", "rhopush-\x1b[2J:1:ping", "rhopush-\nRemove:2:ping")
    assert await clean(tmp_path, redis_address, "--yes") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("Resque ")[-1] for line in lines[:2]] == [
        r"worker rhopush-\nRemove:2:ping",
        r"worker rhopush-\x1b[2J:1:ping",
    ]
    assert await redis_client.smembers("resque:workers") == set()


async def test_a_user_who_may_not_remove_gets_the_words_of_redis(
    redis_client: Redis, redis_address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await redis_client.set("rhopush:snapshot:bob", "x")
    await redis_client.acl_setuser(
        "reader", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-unlink"]
    )
    try:
        assert await clean(tmp_path, redis_address.replace("unix://", "unix://reader:x@"), "--yes") == 1
    finally:
        await redis_client.acl_deluser("reader")
    assert "refuses the command: " in (said := capsys.readouterr().err)
    assert "unlink" in said
    assert await redis_client.exists("rhopush:snapshot:bob")


async def test_confirmation_removes_the_data(
    redis_client: Redis,
    redis_address: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await lay_others(redis_client)
    before = await dump(redis_client)
    await lay_leftovers(redis_client)
    worker = "rhopush-ours-1234:1:ping"
    await redis_client.sadd("resque:workers", worker)
    await redis_client.hset("resque:workers:heartbeat", worker, "now")
    await redis_client.set(f"resque:worker:{worker}:started", "now")
    await redis_client.set(f"resque:stat:processed:{worker}", "5")
    monkeypatch.setattr("sys.stdin", io.StringIO("Yes\n"))
    assert await clean(tmp_path, redis_address) == 0
    assert await dump(redis_client) == before
    assert capsys.readouterr().out.endswith(": 6 keys removed\n")
    assert await clean(tmp_path, redis_address) == 0
    assert capsys.readouterr().out == "Nothing of the gateway is in Redis.\n"


async def test_resques_own_redis_and_namespace_are_cleaned(
    redis_client: Redis, redis_address: str, tmp_path: Path
) -> None:
    """A worker of RhoConnect's, and one of the gateway's name in a namespace that is not the setting's, stay."""
    worker = "rhopush-ours-1234:1:ping"
    async with store_client(redis_client.connection_pool.connection_kwargs["path"], db=2) as resque:
        for name in (worker, "app1:77:*"):
            await resque.sadd("jobs:workers", name)
            await resque.hset("jobs:workers:heartbeat", name, "now")
        await resque.set(f"jobs:worker:{worker}:started", "now")
        await resque.sadd("resque:workers", worker)
        await resque.set(f"rhopush:snapshot:{ODD}", "x")
        own = redis_address.replace("db=0", "db=2&namespace=jobs")
        assert await clean(tmp_path, redis_address, "--yes", resque={"redis": own}) == 0
        assert await resque.smembers("jobs:workers") == {b"app1:77:*"}
        assert await resque.hgetall("jobs:workers:heartbeat") == {b"app1:77:*": b"now"}
        assert sorted(await resque.keys("*")) == [
            b"jobs:workers",
            b"jobs:workers:heartbeat",
            b"resque:workers",
        ]


async def test_nothing_is_removed_while_a_gateway_runs(
    redis_client: Redis,
    redis_address: str,
    start_gateway: StartGateway,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    gateway = await start_gateway(app={"redis": redis_address})
    assert await clean(tmp_path, redis_address, "--yes") == 1
    said = capsys.readouterr()
    assert "a gateway is connected (rhopush:" in said.out
    assert said.err == "rhopush check: nothing was removed: a gateway is connected\n"
    assert (await gateway.ping("bob", message="hello")).status == 200


async def test_an_unreachable_redis_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert await clean(tmp_path, f"unix://{tmp_path}/none", "--yes") == 1
    assert f"unix://{tmp_path}/none" in capsys.readouterr().err


async def test_the_embedded_store_is_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "settings.yml"
    file.write_text("{}")
    assert await asyncio.to_thread(main, ["check", "--settings", str(file), "--clean", "--yes"]) == 0
    assert str(tmp_path / "data" / "valkey") in capsys.readouterr().out
