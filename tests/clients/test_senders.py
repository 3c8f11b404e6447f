"""RhoConnect's documented senders, as real programs, reach devices: 200, an empty body, the correct push.

Ruby, .NET, Java ──► wiretap ──► gateway ──► APNs and FCM simulators
"""

import asyncio
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import NamedTuple

import pytest
from redis.asyncio import Redis

from gateway.simulators import ApnsSimulator, FcmSimulator
from tests.clients.senders import SENDERS, Sender
from tests.clients.wiretap import Wiretap
from tests.support.gateway import TOKEN
from tests.support.providers import provider_settings
from tests.support.redis import RedisServer
from tests.support.rhoconnect import android, apple, lay_user
from tests.support.worker import working

USERS = {"bob": ("b0b0" * 16, "bobs-registration-token"), "ann": ("a22a" * 16, "anns-registration-token")}
TOLD_TO_APPLE = {
    "aps": {
        "alert": "hello world",
        "badge": 5,
        "sound": "hello.mp3",
        "vibrate": "2000",
        "content-available": 1,
    },
    "do_sync": ["Product"],
    "vibrate": "2000",
}
TOLD_TO_ANDROID = {"alert": "hello world", "do_sync": "Product", "sound": "hello.mp3", "vibrate": "2000"}


class Head(NamedTuple):
    """The first line of a request or response, and its headers by lower-case name."""

    first: str
    headers: dict[str, str]
    rest: bytes

    @classmethod
    def parse(cls, raw: bytes) -> "Head":
        head, _, rest = raw.partition(b"\r\n\r\n")
        first, _, fields = head.partition(b"\r\n")
        parsed = BytesHeaderParser().parsebytes(fields)
        return cls(first.decode(), {name.lower(): value for name, value in parsed.items()}, rest)


@pytest.fixture(scope="module", params=SENDERS)
def sender(request: pytest.FixtureRequest) -> Sender:
    return SENDERS[request.param]


@pytest.fixture(scope="module")
def command(sender: Sender, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder: Path = tmp_path_factory.mktemp("sender")
    return sender.build(folder)


async def run(command: list[str], *arguments: str) -> str:
    """The output of a program that ended successfully."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, *arguments, stdout=pipe, stderr=pipe)
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode().strip()


async def lay_phones(redis: Redis) -> None:
    for login, (pin, token) in USERS.items():
        await lay_user(redis, login, [apple(pin), android(token)])


async def test_a_documented_sender_reaches_every_device(
    sender: Sender,
    command: list[str],
    redis_client: Redis,
    redis_address: str,
    tmp_path: Path,
) -> None:
    await lay_phones(redis_client)
    logins = list(USERS) if sender.many else ["bob"]
    async with (
        ApnsSimulator() as apns,
        FcmSimulator() as fcm,
        working(tmp_path, redis_address, provider_settings(apns, fcm)) as worker,
        Wiretap("127.0.0.1", int(worker.url.rpartition(":")[2])) as wire,
    ):
        said = await run(command, wire.url, TOKEN, "Product", "5", *logins)
        to_apple = await apns.received.wait(len(logins))
        to_google = await fcm.received.wait(len(logins))

    assert said == "true"
    request = Head.parse(wire.sent)
    assert request.first == f"POST {sender.path} HTTP/1.1"
    assert request.headers.items() >= sender.headers.items()
    assert ("x-rhoconnect-api-token" in request.headers) is sender.token_in_header
    check_answer(wire.answered, expects_continue="expect" in request.headers)

    assert {push.token for push in to_apple} == {USERS[login][0] for login in logins}
    assert {push.token for push in to_google} == {USERS[login][1] for login in logins}
    for push in to_apple:
        assert push.accepted, push
        assert push.payload == TOLD_TO_APPLE
    for push in to_google:
        assert push.accepted, push
        message = push.payload["message"]
        assert message["data"].items() >= TOLD_TO_ANDROID.items()
        assert message["notification"] == {"body": "hello world"}
        assert message["android"]["notification"]["notification_count"] == 5


def check_answer(raw: bytes, *, expects_continue: bool) -> None:
    """Check for 200 with an empty body, after a 100 if the sender waits for one."""
    answer = Head.parse(raw)
    if expects_continue:
        assert answer.first == "HTTP/1.1 100 Continue"
        answer = Head.parse(answer.rest)
    assert answer.first == "HTTP/1.1 200 OK"
    assert answer.headers["content-length"] == "0"
    assert answer.rest == b""
    assert len(answer.headers["x-ping-id"]) == 32


async def test_each_sender_reports_a_wrong_token_as_an_error(
    sender: Sender, command: list[str], tmp_path: Path
) -> None:
    """The control: the senders print "true" because of the gateway's response."""
    pipe = asyncio.subprocess.PIPE
    with RedisServer("valkey") as server:
        async with working(tmp_path, server.address, {}) as worker:
            arguments = (worker.url, "no-such-token", "Product", "5", "bob")
            process = await asyncio.create_subprocess_exec(*command, *arguments, stdout=pipe, stderr=pipe)
            out, err = await process.communicate()
    assert process.returncode != 0
    assert b"true" not in out
    assert b"422" in err
