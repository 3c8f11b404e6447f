"""A Redis that refuses permanently: complete gateways with real servers, limited users and cluster mode."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
import yaml
from redis.asyncio import Redis
from structlog.testing import capture_logs

from gateway.cli import main
from gateway.client.resque import push
from gateway.errors import BadSetting, StoreRefused
from gateway.server import maintenance as maintenance_module
from gateway.server import redis_permissions
from gateway.simulators import ANDROID, ApnsSimulator, FcmSimulator, RhoConnectPushDevice
from gateway.store.address import RedisAddress
from tests.conftest import StartGateway
from tests.support import rhoconnect
from tests.support.providers import provider_settings
from tests.support.redis import KINDS, RedisServer, store_client
from tests.support.rhoconnect import apple, lay_user
from tests.support.worker import Worker, working
from tests.support.worker_core import until

DOCS: Final = Path(__file__).parents[3] / "docs" / "settings.md"
SOURCES: Final = {"Product": {"push_notify": True}}


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """A server whose users may be changed."""
    with RedisServer(request.param) as one:
        yield one


@pytest.fixture
async def admin(server: RedisServer) -> AsyncIterator[Redis]:
    async with store_client(server.socket) as redis:
        yield redis


def documented() -> list[str]:
    """The rules of the user in the documentation."""
    (line,) = re.findall(r"^ACL SETUSER rhopush (.*)$", DOCS.read_text(), re.MULTILINE)
    return [rule.replace("PASSWORD", "pw") for rule in line.split()]


async def limited(admin: Redis, server: RedisServer, *rules: str) -> str:
    """A user with these rights; the address with it."""
    await admin.execute_command("ACL", "SETUSER", "few", "reset", "on", ">pw", *rules)
    return server.address.replace("unix://", "unix://few:pw@")


@asynccontextmanager
async def rhoconnect_push_device(worker: Worker) -> AsyncIterator[RhoConnectPushDevice]:
    """A device of bob, registered and polling."""
    async with (
        aiohttp.ClientSession(worker.url) as session,
        session.post("/rc/v1/app/login", json={"login": "bob", "password": "pw"}) as answer,
    ):
        assert answer.status == 200
        cookie = f"rhoconnect_session={answer.cookies['rhoconnect_session'].value}"
    async with RhoConnectPushDevice(
        worker.rhoconnect_push_url, "bob", "pw", cookie, behaviour=ANDROID, speed_up=100.0
    ) as device:
        await device.register("someapp")
        task = asyncio.create_task(device.run())
        try:
            yield device
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def all_ways(
    worker: Worker, address: str, admin: Redis, apns: ApnsSimulator, *, channels: bool
) -> None:
    """A ping, an event, a job of Resque, a registration and a RhoConnect Push device under a limited user."""
    assert (await worker.request("GET", "/readyz")).json() == {"ready": True, "missing": {}, "degraded": {}}
    login = {"login": "bob", "password": "pw"}
    async with aiohttp.ClientSession(worker.url) as session:
        async with session.post("/rc/v1/app/login", json=login) as answer:
            assert answer.status == 200
            cookie = {"rhoconnect_session": answer.cookies["rhoconnect_session"].value}
        async with session.post("/rc/v1/clients", cookies=cookie) as answer:
            assert answer.status == 200, await answer.text()
            client_id = json.loads(await answer.read())["client"]["client_id"]
        device = {"device_type": "Apple", "device_pin": "ab" * 32}
        async with session.post(
            f"/rc/v1/clients/{client_id}/register", json=device, cookies=cookie
        ) as answer:
            assert answer.status == 200, await answer.text()

    waited = await worker.request(
        "POST", "/rc/v1/users/ping?wait=true", json={"user_id": ["bob"], "message": "one"}
    )
    assert (waited.status, apns.received.total) == (200, 1), waited.body
    if channels:
        await admin.publish("rhoconnect:changes", json.dumps({"source": "Product", "user_id": "bob"}))
        await until(lambda: apns.received.total == 2)
    before = apns.received.total
    job = {"user_id": ["bob"], "message": "job"}
    await asyncio.to_thread(push, RedisAddress.parse(address), job)
    await until(lambda: apns.received.total == before + 1)

    async with rhoconnect_push_device(worker) as phone:
        await lay_user(
            admin, "bob", [rhoconnect.rhoconnect_push_client(phone.tokens["someapp"])], password="pw"
        )
        ping_id = await worker.accepted("bob", message="to the old one")
        got = await phone.wait(1)
        assert got[0].data["alert"] == "to the old one"
        assert (await worker.done(ping_id))["counts"]["accepted"] >= 1
    created = await worker.request(
        "POST", "/rc/v1/users", json={"attributes": {"login": "eve", "password": "secret"}}
    )
    assert created.status == 200, created.body


@pytest.mark.parametrize("rule", ["documented", "wider"])
async def test_keyspace_notifications_need_the_documented_pattern_literally(
    server: RedisServer, admin: Redis, tmp_path: Path, rule: str
) -> None:
    rules = documented()
    if rule == "wider":
        rules = ["&__keyspace@*" if one.startswith("&__keyspace") else one for one in rules]
    await lay_user(admin, "bob", [apple("ab" * 32)])
    address = await limited(admin, server, *rules)
    async with ApnsSimulator() as apns, FcmSimulator() as fcm:
        events = {"window_ms": 0, "keyspace": "configure"}
        said = provider_settings(apns, fcm, events=events, drain_s=1)
        with capture_logs() as logged:
            async with working(tmp_path, address, said, sources=SOURCES):
                if rule == "documented":
                    async with asyncio.timeout(30):
                        while not await admin.pubsub_numpat():
                            await asyncio.sleep(0.02)
                    await admin.sadd("source:application:bob:Product:md:0a", "[]")
                    await until(lambda: apns.received.total == 1)
    refused = [line for line in logged if "__keyspace@0__" in str(line) and "refused" in line["event"]]
    assert bool(refused) is (rule == "wider"), refused


@pytest.mark.parametrize("rights", ["documented", "no-channels", "no-dangerous", "read-all"])
async def test_a_limited_user_suffices(
    server: RedisServer, admin: Redis, tmp_path: Path, rights: str
) -> None:
    rules = {
        "documented": documented(),
        "read-all": ["%R~*", *documented()],
        "no-channels": ["~*", "resetchannels", "+@all"],
        "no-dangerous": ["~*", "&*", "+@all", "-@dangerous"],
    }[rights]
    await lay_user(admin, "bob", [], password="pw")
    address = await limited(admin, server, *rules)
    async with ApnsSimulator() as apns, FcmSimulator() as fcm, AsyncExitStack() as stack:
        said = provider_settings(apns, fcm, events={"window_ms": 0}, resque={"queues": ["ping"]}, drain_s=1)
        said["rhoconnect_push"] = {"wait_s": 30}
        logged = stack.enter_context(capture_logs())
        first, _ = [
            await stack.enter_async_context(
                working(tmp_path, address, said, slot=slot, workers=2, rhoconnect_push=True, sources=SOURCES)
            )
            for slot in range(2)
        ]
        await all_ways(first, address, admin, apns, channels=rights != "no-channels")
    texts = " ".join(line["text"] for line in logged if line["event"] == "redis_commands_refused")
    named = {
        "documented": ["SORT"],
        "read-all": [],
        "no-channels": ["SUBSCRIBE"],
        "no-dangerous": ["INFO", "SORT"],
    }
    assert all(name in texts for name in named[rights]), texts
    assert bool(texts) is bool(named[rights]), texts
    if rights == "documented":
        assert len({line["text"] for line in logged if line["event"] == "redis_commands_refused"}) == 1


async def test_a_user_without_channels_is_logged_rarely(
    server: RedisServer, admin: Redis, tmp_path: Path
) -> None:
    address = await limited(admin, server, "~*", "resetchannels", "+@all")
    with capture_logs() as said:
        async with working(tmp_path, address, {"drain_s": 1}) as worker:
            # The connection with the refused channels stands, and proves itself twice a second.
            await until(
                lambda: any(
                    line["event"] == "redis_channel_refused" and line["channel"] == "rhoconnect:changes"
                    for line in said
                )
            )
            connected = {line["id"] for line in await admin.client_list() if line["name"] == "rhopush:events"}
            assert len(connected) == 1
            for _ in range(3):
                assert (await worker.request("GET", "/readyz")).status == 200
                await asyncio.sleep(0.5)  # the time in which there were fifteen lines
            after = {line["id"] for line in await admin.client_list() if line["name"] == "rhopush:events"}
            assert after == connected
    refused = [line for line in said if line["event"] == "redis_channel_refused"]
    assert len(refused) == len({line["channel"] for line in refused})
    assert any(line["channel"] == "rhoconnect:changes" and "NOPERM" in line["error"] for line in refused)
    lines = [line for line in said if line["log_level"] in ("warning", "error")]
    assert len(lines) < 20, lines


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("database", [0, 1])
async def test_cluster_mode_ends_the_start(kind: str, database: int, start_gateway: StartGateway) -> None:
    with RedisServer(kind, options={"cluster-enabled": "yes"}) as server:
        address = server.address.replace("db=0", f"db={database}")
        with pytest.raises(AssertionError, match="exit status 2") as ended:
            await start_gateway(app={"redis": address})
    assert str(ended.value).count("rhopush serve: ") == 1
    assert re.search(r"cluster mode|DB index is out of range", str(ended.value))


@pytest.mark.parametrize("setting", ["queue.redis", "rhoconnect_push.redis", "resque.redis"])
async def test_cluster_mode_of_a_further_redis_ends_the_start(
    setting: str, server: RedisServer, tmp_path: Path
) -> None:
    section = setting.removesuffix(".redis")
    with RedisServer(server.kind, options={"cluster-enabled": "yes"}) as cluster:
        said: dict[str, Any] = {section: {"redis": cluster.address}}
        said.setdefault("resque", {})["queues"] = ["ping"]
        with pytest.raises(BadSetting, match="cluster mode") as refused:
            async with working(tmp_path, server.address, said):
                pass
    assert refused.value.message.startswith(f"{setting}: ")


async def test_a_wrong_password_ends_the_start_with_the_words_of_redis(
    server: RedisServer, admin: Redis, start_gateway: StartGateway
) -> None:
    await limited(admin, server, "~*", "&*", "+@all")
    await admin.config_set("requirepass", "another")
    with pytest.raises(AssertionError, match="exit status 2") as ended:
        await start_gateway(app={"redis": server.address.replace("unix://", "unix://few:guessed@")})
    assert "Redis refuses: WRONGPASS" in str(ended.value)
    assert "guessed" not in str(ended.value)


async def test_check_fails_with_the_words_of_redis(
    server: RedisServer, admin: Redis, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def check(address: str) -> tuple[int, str]:
        file = tmp_path / "settings.yml"
        file.write_text(yaml.safe_dump({"development": {"redis": address}}))
        status = await asyncio.to_thread(main, ["check", "--settings", str(file), "--env", "development"])
        return status, capsys.readouterr().out

    status, out = await check(await limited(admin, server, "~*", "resetchannels", "+@all", "-xadd"))
    assert status == 1
    (bad,) = [line for line in out.splitlines() if line.startswith("FAIL")]
    assert "refuses XADD (queue, receipts and limits of pings): NOPERM" in bad
    warned = [line for line in out.splitlines() if line.startswith("warn  redis (permissions)")]
    assert any("SUBSCRIBE rhoconnect:changes" in line and "NOPERM" in line for line in warned)
    assert ":pw@" not in out
    assert await admin.keys() == []
    with RedisServer(server.kind, options={"cluster-enabled": "yes"}) as cluster:
        status, out = await check(cluster.address)
    assert (status, out.count("cluster mode")) == (1, 1)


async def test_revoked_permissions_are_reported_until_they_are_restored(
    server: RedisServer, admin: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance_module, "_EVERY_S", 0.05)
    monkeypatch.setattr(redis_permissions, "EVERY_S", 0.05)
    await lay_user(admin, "bob", [apple("ab" * 32)])
    address = await limited(admin, server, "~*", "&*", "+@all")

    async def missing(worker: Worker) -> dict[str, str]:
        found: dict[str, str] = (await worker.request("GET", "/readyz")).json()["missing"]
        return found

    async def eventually(worker: Worker, words: str) -> None:
        async with asyncio.timeout(30):
            while words not in str(await missing(worker)) or bool(words) is not bool(await missing(worker)):
                await asyncio.sleep(0.02)

    with capture_logs() as said:
        async with working(tmp_path, address, {"drain_s": 1}) as worker:
            await eventually(worker, "")
            await admin.execute_command("ACL", "SETUSER", "few", "-evalsha", "-eval")
            refused = await worker.ping("bob")
            assert (refused.status, refused.json()["error"]["code"]) == (503, "store_refused")
            assert "NOPERM" in refused.json()["error"]["message"]
            assert refused.headers["Retry-After"]
            await eventually(worker, "NOPERM")
            await admin.execute_command("ACL", "SETUSER", "few", "+@all", "resetkeys", "~rhopush:*")
            await eventually(worker, "NOPERM")
            refused = await worker.request(
                "POST",
                "/rc/v1/users/ping",
                json={"user_id": "bob"},
                headers={"X-RhoConnect-API-TOKEN": "other"},
            )
            assert (refused.status, refused.json()["error"]["code"]) == (503, "store_refused")
            assert "Redis refuses: NOPERM" in refused.json()["error"]["message"]
            await admin.execute_command("ACL", "SETUSER", "few", "~*")
            await eventually(worker, "")
            await worker.accepted("bob")
    lines = [line for line in said if line["event"] == "redis_command_refused"]
    assert len({line["error"] for line in lines}) == len(lines)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_failover_to_a_cluster_is_named(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address leads to another server from one moment to the next."""
    monkeypatch.setattr(maintenance_module, "_EVERY_S", 0.05)
    with RedisServer(kind) as plain, RedisServer(kind, options={"cluster-enabled": "yes"}) as cluster:
        link = tmp_path / "s"
        link.symlink_to(plain.socket)
        async with working(tmp_path, f"unix://{link}", {"drain_s": 1}) as worker:
            assert (await worker.request("GET", "/readyz")).status == 200
            link.unlink()
            link.symlink_to(cluster.socket)
            plain.kill()
            async with asyncio.timeout(30):
                while "cluster mode" not in str((await worker.request("GET", "/readyz")).json()):
                    await asyncio.sleep(0.02)
            refused = await worker.ping("bob")
            assert (refused.status, refused.json()["error"]["code"]) == (503, "store_refused")
            assert re.search("CLUSTERDOWN|CROSSSLOT|MOVED", refused.json()["error"]["message"])


async def test_the_worker_reports_why_it_does_not_start(
    server: RedisServer, admin: Redis, tmp_path: Path
) -> None:
    with pytest.raises(BadSetting, match=r"refuses .*XADD.*NOPERM"):
        async with working(tmp_path, await limited(admin, server, "~*", "&*", "+@all", "-@stream"), {}):
            pass
    with pytest.raises(StoreRefused, match="WRONGPASS"):
        async with working(tmp_path, server.address.replace("unix://", "unix://nobody@"), {}):
            pass
