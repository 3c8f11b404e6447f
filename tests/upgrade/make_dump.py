"""Makes the dump: `python -m tests.upgrade.make_dump`, from the root of a checkout of the version that is to be left.

It runs that version's gateway, providers and devices over a Redis of its own, ends the gateway by SIGKILL where
something is under way, and calls the store's own functions for what a kill meets too seldom. The result replaces
`stand.DUMP`. A dump that is in the repository was made by the commit before the one that added it. It is not made
again when names change: it holds what that version stored. A later version gets a dump beside it.

The dump has the expected result of each ping (`note_ping`).
"""

import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
from redis.asyncio import Redis

from gateway.simulators.rhoconnect_push_device import RhoConnectPushDevice
from gateway.store import keys
from tests.support.gateway import TOKEN, Gateway
from tests.support.providers import TOPIC
from tests.support.redis import RedisServer
from tests.support.rhoconnect import lay_admin, lay_users
from tests.support.worker_core import until
from tests.upgrade import dump, queued
from tests.upgrade.stand import (
    CHANGES,
    DEVICE,
    DUMP,
    GUESSED,
    LATER_S,
    PASSWORD,
    SOURCES,
    Providers,
    client_id,
    droid,
    iphone,
    place,
    providers,
    registration,
    token,
)


class Maker(NamedTuple):
    """The arguments of each step."""

    redis: Redis
    store: RedisServer
    stand: Providers
    folder: Path
    notes: list[dict[str, Any]]

    def gateway(self, name: str, *, resque: Sequence[str] = (), **more: Any) -> Gateway:
        """A gateway with a data folder of its own."""
        folder = self.folder / name
        folder.mkdir()
        settings = self.stand.settings(
            retry={"unknown_s": LATER_S, "jitter": 0.0},
            events={"window_ms": LATER_S * 1000},
            resque={"queues": list(resque)},
            **more,
        )
        return Gateway(folder, settings, app={"redis": self.store.address}, sources=SOURCES)

    def note_ping(
        self,
        ping_id: str,
        text: str,
        to: Sequence[str],
        counts: tuple[int, int],
        skipped: dict[str, int] | None = None,
    ) -> None:
        """Note what is to come of a ping.

        Args:
            text: no other ping has it.
            to: push tokens that get it after the dump.
            counts: deliveries accepted and rejected in the end.
            skipped: devices and users left out, by reason.
        """
        seen = {
            record.token: [record.headers.get("apns-id"), record.headers.get("apns-collapse-id")]
            for record in self.stand.apns.received
            if record.summary.alert == text
        }
        tried = {device: ids for device, ids in seen.items() if device in to}
        note = {"ping": ping_id, "text": text, "to": list(to), "tried": tried}
        self.notes.append(note | {"counts": counts, "skipped": skipped or {}})


async def main() -> None:
    """Make the dump."""
    faults = (
        f"410:token={token('gone')[:12]}",
        f"BadDeviceToken:token={token('bad')[:12]}",
        f"503={LATER_S}:token={token('pat1')[:12]}",
        f"silence:token={token('mia2')[:12]}",
        f"reset:token={token('zed1')[:12]}",
    )
    with RedisServer("valkey") as store, tempfile.TemporaryDirectory(prefix="g-") as folder:
        async with (
            providers(faults) as stand,
            Redis(unix_socket_path=str(store.socket)) as redis,
        ):
            maker = Maker(redis, store, stand, Path(folder), [])
            await lay(redis)
            await first_life(maker)
            await second_life(maker)
            await queued.leave(maker)
            await dump.write(redis, DUMP, maker.notes)
    print(f"{DUMP}: {DUMP.stat().st_size} bytes", file=sys.stderr)


async def lay(redis: Redis) -> None:
    """RhoConnect's users and devices."""
    await lay_admin(redis, TOKEN)
    await lay_users(
        redis,
        {
            "gil": (iphone("gone"), iphone("gil1"), iphone("bad"), iphone("away")),
            "pat": (iphone("pat1"), droid("pat2")),
            "quin": (droid("quin1"),),
            "mia": (iphone("mia1"), iphone("mia2"), droid("mia3")),
            "olga": (iphone("olga1"), droid("olga2")),
            "wim": (iphone("wim1"),),
            "zed": (iphone("zed1"),),
            "dora": (iphone("dora1", phone_id="shared"), droid("dora2")),
            "dirk": (iphone("dora1", phone_id="shared"), iphone("dirk1")),
            **{f"fan{number:03}": (iphone(f"fan{number}"),) for number in (0, 1, 400, 401, 402)},
        },
    )


# -- the first gateway -------------------------------------------------------------------------------------------


async def first_life(maker: Maker) -> None:
    """Accounts, devices, history, and pings that wait for a retry or for an answer. Ends by SIGKILL."""
    maker.stand.fcm.faults.add(f"503={LATER_S}:token={registration('quin1')}")
    async with maker.gateway("first", resque=["ping"]) as gateway:
        await unreadable(maker)
        await resque_job(maker)
        await accounts(maker, gateway)
        await rhoconnect_push(maker, gateway)
        await dead_tokens(maker, gateway)
        await retries(maker, gateway)
        await maker.redis.publish(CHANGES, json.dumps({"source": "Product", "user_id": "wim", "id": "1"}))
        await until(lambda: maker.redis.exists(keys.WINDOWS))
        await half_settled(maker, gateway)
        gateway.kill_all()
        await gateway.wait()
    maker.stand.fcm.faults.clear()


async def unreadable(maker: Maker) -> None:
    """An entry that was put aside."""
    await maker.redis.xadd(keys.PINGS, {"e": b"no entry", "n": 1, "s": 8})
    await until(lambda: maker.redis.xlen(keys.UNREADABLE))


async def resque_job(maker: Maker) -> None:
    """A job that was done, and one that failed: Resque's counters, and the worker that was killed."""
    job = {"class": "Rhoconnect::PingJob", "args": [{"user_id": ["wim"], "message": "a job that is done"}]}
    await maker.redis.sadd("resque:queues", "ping")
    await maker.redis.rpush("resque:queue:ping", json.dumps(job), '{"class":"Rhoconnect::PingJob","args":1}')
    await until(lambda: maker.redis.llen("resque:failed"))
    await arrived(maker, "a job that is done", token("wim1"))


async def accounts(maker: Maker, gateway: Gateway) -> None:
    """Sessions, a device that changed its owner, password guesses, and a ping with an Idempotency-Key."""
    for login in ("ann", "leo", GUESSED):
        body = {"attributes": {"login": login, "password": PASSWORD}}
        assert (await gateway.request("POST", "/rc/v1/users", json=body)).status == 200
    leo, ann = await log_in(gateway, "leo"), await log_in(gateway, "ann")
    device = {
        "device_type": "APPLE",
        "device_push_type": "apple",
        "device_pin": token("ann1"),
        "device_app_id": TOPIC,
    }
    async with aiohttp.ClientSession(gateway.url) as http:
        made = await http.post("/rc/v1/clients", json=device, headers={"Cookie": leo})
        client = (await made.json(content_type=None))["client"]["client_id"]
        path = f"/rc/v1/clients/{client}/register"
        assert (await http.post(path, json=device, headers={"Cookie": ann})).status == 200
        for _ in range(10):
            guess = {"login": GUESSED, "password": "a guess"}
            assert (await http.post("/rc/v1/app/login", json=guess)).status == 401
    body = json.dumps({"user_id": "ann", "message": "once"})
    headers = {"Idempotency-Key": "upgrade", "Content-Type": "application/json"}
    once = await gateway.request("POST", "/rc/v1/users/ping", data=body, headers=headers)
    await reported(gateway, once.ping_id, state="done")
    maker.note_ping(once.ping_id, "once", [], (1, 0))
    maker.notes.append({"once": {"ping": once.ping_id, "body": body, "headers": headers}})
    maker.notes.append({"session": {"cookie": ann}})


async def log_in(gateway: Gateway, login: str) -> str:
    """A session's cookie."""
    async with aiohttp.ClientSession(gateway.url) as http:
        answer = await http.post("/rc/v1/app/login", json={"login": login, "password": PASSWORD})
        assert answer.status == 200
        return f"rhoconnect_session={answer.cookies['rhoconnect_session'].value}"


async def rhoconnect_push(maker: Maker, gateway: Gateway) -> None:
    """A device that registered: one message waits for its poll, and one delivery for its retry."""
    session = await log_in(gateway, "leo")
    async with RhoConnectPushDevice(gateway.rhoconnect_push_url, "leo", PASSWORD, session) as device:
        pin = await device.register(TOPIC)
        body = {"device_type": "ANDROID", "device_push_type": "rhoconnect_push", "device_pin": pin}
        async with aiohttp.ClientSession(gateway.url, headers={"Cookie": session}) as http:
            assert (await http.post("/rc/v1/clients", json=body)).status == 200
        await maker.redis.set(f"que:{device.instance}", "of another type")
        again = await gateway.ping("leo", message="retry at RhoConnect Push")
        await reported(gateway, again.ping_id, state="open")
        await maker.redis.delete(f"que:{device.instance}")
        waits = await gateway.ping("leo", message="waits for a poll")
        await reported(gateway, waits.ping_id, state="done")
    maker.note_ping(again.ping_id, "retry at RhoConnect Push", [DEVICE], (1, 0))
    maker.note_ping(waits.ping_id, "waits for a poll", [DEVICE], (1, 0))
    known = {"instance": device.instance, "cookie": device.cookie, "tokens": device.tokens}
    maker.notes.append({"device": known})


async def dead_tokens(maker: Maker, gateway: Gateway) -> None:
    """A device that was uninstalled and one of another app are marked."""
    gone = await gateway.ping("gil", message="marks")
    await reported(gateway, gone.ping_id, state="done")
    for name in ("gone", "bad"):
        await until(lambda name=name: maker.redis.exists(keys.dead(client_id(name))))
    maker.note_ping(gone.ping_id, "marks", [], (2, 2))
    maker.notes.append({"place": place(maker.stand.apns.port)})


async def retries(maker: Maker, gateway: Gateway) -> None:
    """Deliveries that Apple and Google refused for a while. The other device of the first ping has it."""
    apns = await gateway.ping("pat", message="retry at Apple")
    fcm = await gateway.ping("quin", message="retry at Google")
    for answer in (apns, fcm):
        await reported(gateway, answer.ping_id, state="open")
    maker.note_ping(apns.ping_id, "retry at Apple", [token("pat1")], (2, 0))
    maker.note_ping(fcm.ping_id, "retry at Google", [registration("quin1")], (1, 0))


async def half_settled(maker: Maker, gateway: Gateway) -> None:
    """One of three devices has no answer. The verdicts of the others are saved."""
    answer = await gateway.ping("mia", message="half settled")
    await until(lambda: queued.saved(maker.store.address, answer.ping_id, 2))
    maker.note_ping(answer.ping_id, "half settled", [token("mia2")], (3, 0))


# -- the second gateway ------------------------------------------------------------------------------------------


async def second_life(maker: Maker) -> None:
    """No provider can be reached, nor the Redis of RhoConnect Push: deliveries are parked in each lane."""
    with RedisServer("valkey") as other:
        async with maker.gateway("second", rhoconnect_push={"redis": other.address}) as gateway:
            await maker.stand.apns.suspend()
            await maker.stand.fcm.suspend()
            other.kill()
            both = await gateway.ping("olga", message="parked")
            push = await gateway.ping("leo", message="parked at RhoConnect Push")
            await until(lambda: parked_in(maker, 3))
            gateway.kill_all()
            await gateway.wait()
    maker.note_ping(both.ping_id, "parked", [token("olga1"), registration("olga2")], (2, 0))
    maker.note_ping(push.ping_id, "parked at RhoConnect Push", [DEVICE], (1, 0))
    await maker.stand.apns.resume()
    await maker.stand.fcm.resume()


async def parked_in(maker: Maker, lanes: int) -> bool:
    return int(await maker.redis.hlen(keys.PARKED)) == lanes


# -- waiting -----------------------------------------------------------------------------------------------------


async def reported(gateway: Gateway, ping_id: str, *, state: str) -> None:
    """Wait until the receipt of a ping says so."""

    async def said() -> bool:
        answer = await gateway.request("GET", f"/rc/v1/pings/{ping_id}")
        return answer.status == 200 and answer.json()["state"] == state

    await until(said)


async def arrived(maker: Maker, text: str, to: str) -> None:
    """Wait until an Apple device has a ping."""
    received = maker.stand.apns.received
    await until(lambda: any(one.token == to and one.summary.alert == text for one in received.accepted))


if __name__ == "__main__":
    asyncio.run(main())
