"""The secret of RhoConnect Push devices' ids outlives a reset of RhoConnect (FLUSHDB), a restart, and both together."""

import asyncio
import contextlib
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from gateway.errors import UnsafeFile
from gateway.mailbox.store import MailboxStore
from gateway.metrics import Metrics
from gateway.server import id_secret
from gateway.server.rhoconnect_push import open_mailbox, open_rhoconnect_push
from gateway.settings import AuthSettings, RhoConnectPushSettings, Secret, Settings
from gateway.simulators.rhoconnect_push_device import ANDROID, RhoConnectPushDevice
from gateway.store import keys
from gateway.store.address import RedisAddress
from tests.support.redis import KINDS, RedisServer, store_client
from tests.support.worker_core import until

KEY = keys.MAILBOX_ID_KEY
NAME = "rps_secret"


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(id_secret, "_RETRY_S", 0.01)


def settings(address: str, folder: Path) -> Settings:
    folder.mkdir(exist_ok=True)
    return Settings(
        redis=Secret(address),
        data_dir=folder,
        auth=AuthSettings(devices="open"),
        rhoconnect_push=RhoConnectPushSettings(wait_s=1),
    )


@contextlib.asynccontextmanager
async def served(said: Settings, slot: int = 0) -> AsyncIterator[str]:
    """A gateway's legacy service; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        async with open_mailbox(said) as store:
            assert store is not None
            async with open_rhoconnect_push(said, store, sock, Metrics(), slot=slot) as service:
                yield url
                await service.close(1.0)


def device(url: str) -> RhoConnectPushDevice:
    return RhoConnectPushDevice(url, "bob", "pw", "s=1", behaviour=ANDROID, speed_up=1_000.0)


async def arrives(redis: Redis) -> bytes:
    """The secret in Redis, once there is one."""
    async with asyncio.timeout(30):
        while (found := await redis.get(KEY)) is None:
            await asyncio.sleep(0.01)
        assert isinstance(found, bytes)
        return found


async def test_a_running_gateway_writes_a_lost_secret_back(
    redis_client: Redis, redis_address: str, tmp_path: Path
) -> None:
    async with served(settings(redis_address, tmp_path)) as url, device(url) as phone:
        await phone.register("app")
        own, secret = phone.instance, await arrives(redis_client)
        with capture_logs() as logs:
            await redis_client.flushdb()
            assert await arrives(redis_client) == secret
            await until(lambda: logs)  # the line follows when Redis has answered
        assert [line["event"] for line in logs] == ["id_secret_restored"]
        assert secret.decode() not in str(logs)
        phone.tokens.clear()
        await phone.register("app")
        assert phone.instance == own
        assert await phone.poll() == 204


async def test_a_gateway_that_starts_after_a_reset_has_its_own_copy(
    redis_client: Redis, redis_address: str, tmp_path: Path
) -> None:
    said = settings(redis_address, tmp_path)
    async with served(said) as url, device(url) as phone:
        await phone.register("app")
        own, secret = (phone.instance, phone.cookie), await arrives(redis_client)
    file = tmp_path / NAME
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (secret + b"\n", 0o600)
    await redis_client.flushdb()
    async with served(said) as url, device(url) as phone:
        assert await redis_client.get(KEY) == secret
        phone.instance, phone.cookie = own
        assert await phone.poll() == 404, "the registrations are gone, as with rhoconnect-push"
        phone.instance, phone.cookie = own
        await phone.register("app")
        assert phone.instance == own[0]
        assert await phone.poll() == 204


async def test_of_two_gateways_with_one_redis_both_keep_the_same_secret(
    redis_client: Redis, redis_address: str, tmp_path: Path
) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / NAME).write_bytes(b"ab" * 32)
    with capture_logs() as logs:
        async with (
            served(settings(redis_address, tmp_path / "a")) as first,
            served(settings(redis_address, tmp_path / "b")) as second,
            device(first) as phone,
        ):
            await phone.register("app")
            phone.move(second)
            await phone.register("app")
            assert await phone.poll() == 204
    copies = {(tmp_path / name / NAME).read_bytes().strip() for name in ("a", "b")}
    assert copies == {await redis_client.get(KEY)}, "Redis' wins, and the copies follow"
    assert "id_secret_replaced" in [line["event"] for line in logs]


async def test_a_secret_that_another_gateway_wrote_is_adopted(
    redis_client: Redis, redis_address: str, tmp_path: Path
) -> None:
    async with served(settings(redis_address, tmp_path)) as url, device(url) as phone:
        await phone.register("app")
        await redis_client.set(KEY, "cd" * 32)
        await until(lambda: (tmp_path / NAME).read_bytes() == b"cd" * 32 + b"\n")
        async with asyncio.timeout(30):
            while await phone.poll() != 404:
                phone.statuses.clear()
        assert phone.instance == "", "it drops its id"
        await phone.register("app")
        assert await phone.poll() == 204


@pytest.mark.parametrize("slot", [0, 1])
async def test_one_worker_of_a_gateway_writes_the_copy(redis_address: str, tmp_path: Path, slot: int) -> None:
    async with served(settings(redis_address, tmp_path), slot):
        pass
    assert (tmp_path / NAME).exists() == (slot == 0)


@pytest.mark.parametrize("kind", KINDS)
async def test_with_a_copy_a_start_on_a_full_redis_serves_immediately(kind: str, tmp_path: Path) -> None:
    with RedisServer(kind) as server:
        said = settings(server.address, tmp_path)
        (tmp_path / NAME).write_bytes(b"ab" * 32)
        async with store_client(server.socket) as redis:
            await redis.config_set("maxmemory", "1")
            async with served(said) as url, device(url) as phone:
                assert not await phone.check("app")
                assert phone.statuses_of_checks == [401], "and not 503"
                await redis.config_set("maxmemory", "0")
                assert await arrives(redis) == b"ab" * 32


@pytest.mark.parametrize(
    "kept", [b"", b"no hex", b"abcd", b"\xff\xfe"], ids=["empty", "text", "short", "bytes"]
)
async def test_an_invalid_secret_is_replaced(
    redis_client: Redis, redis_address: str, tmp_path: Path, kept: bytes
) -> None:
    said = settings(redis_address, tmp_path)
    await redis_client.set(KEY, kept)
    (tmp_path / NAME).write_bytes(kept)
    async with served(said) as url, device(url) as phone:
        await phone.register("app")
    found = await redis_client.get(KEY)
    assert isinstance(found, bytes)
    assert len(found) == 64
    assert (tmp_path / NAME).read_bytes().strip() == found


async def test_an_unwritable_folder_stops_nothing(redis_address: str, tmp_path: Path) -> None:
    gone = Settings(
        redis=Secret(redis_address), data_dir=tmp_path / "gone", auth=AuthSettings(devices="open")
    )
    with capture_logs() as logs:
        async with served(gone) as url, device(url) as phone:
            await phone.register("app")
    (line,) = [line for line in logs if line["event"] == "id_secret_write_failed"]
    assert line["file"].endswith(NAME)


@pytest.mark.parametrize("how", ["link", "writable"])
async def test_a_copy_that_others_may_have_made_is_refused(
    redis_address: str, tmp_path: Path, how: str
) -> None:
    said = settings(redis_address, tmp_path)
    file = tmp_path / NAME
    if how == "link":
        file.symlink_to(tmp_path / "elsewhere")
    else:
        file.write_bytes(b"ab" * 32)
        file.chmod(0o666)
    with pytest.raises(UnsafeFile, match=NAME):
        async with served(said):
            pass


async def test_a_secret_of_the_settings_is_not_stored(
    redis_client: Redis, redis_address: str, tmp_path: Path
) -> None:
    said = Settings(
        redis=Secret(redis_address),
        data_dir=tmp_path,
        auth=AuthSettings(devices="open"),
        rhoconnect_push=RhoConnectPushSettings(secret=Secret("a secret of the settings")),
    )
    async with served(said) as url, device(url) as phone:
        await phone.register("app")
    assert await redis_client.get(KEY) is None
    assert not (tmp_path / NAME).exists()


async def test_one_of_many_concurrent_writes_takes_effect(redis_client: Redis, redis_address: str) -> None:
    stores = [MailboxStore(RedisAddress.parse(redis_address)) for _ in range(4)]
    for store in stores:
        await store.open()
    kept = [bytes([number]) * 32 for number in range(4)]
    found = await asyncio.gather(*(store.secret(own) for store, own in zip(stores, kept, strict=True)))
    assert len(set(found)) == 1
    assert found[0] in kept
    for store in stores:
        await store.close()
