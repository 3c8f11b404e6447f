"""The simulated FCM over real sockets: both HTTP versions, its token endpoint, faults."""

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any

import aiohttp
import jwt
import pytest

from gateway.simulators import FcmOptions, FcmSimulator, Hosting
from tests.support.requirements import need_program

SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
MESSAGE = {"message": {"token": "device:1", "data": {"alert": "hi"}}}


def assertion(info: dict[str, str], now_s: float | None = None) -> str:
    issued = int(time.time() if now_s is None else now_s)
    claims = {
        "iss": info["client_email"],
        "aud": info["token_uri"],
        "scope": SCOPE,
        "iat": issued,
        "exp": issued + 3600,
    }
    return jwt.encode(claims, info["private_key"], "RS256", {"kid": info["private_key_id"]})


class Sender:
    """HTTP/1.1 by aiohttp."""

    def __init__(self, fcm: FcmSimulator) -> None:
        self.fcm = fcm
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=fcm.authority.client_context(("http/1.1",)))
        )

    async def __aenter__(self) -> "Sender":
        await self.session.__aenter__()
        form = {
            "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
            "assertion": assertion(self.fcm.service_account.info),
        }
        async with self.session.post(self.fcm.service_account.info["token_uri"], data=form) as answer:
            assert answer.status == 200
            self.token = (await answer.json())["access_token"]
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.session.close()

    async def send(self, message: Any = MESSAGE) -> tuple[int, Any, Mapping[str, str]]:
        url = f"{self.fcm.endpoint}/v1/projects/{self.fcm.project_id}/messages:send"
        headers = {"authorization": f"Bearer {self.token}"}
        async with self.session.post(url, json=message, headers=headers) as answer:
            return answer.status, await answer.json(), answer.headers


async def test_a_message_over_http_1_1_is_accepted() -> None:
    async with FcmSimulator() as fcm, Sender(fcm) as sender:
        status, body, _ = await sender.send()
        assert status == 200
        assert body["name"].startswith("projects/demo-project/messages/0:")
        assert [(record.token, record.summary.alert) for record in fcm.received] == [("device:1", "hi")]


async def test_a_quota_answers_429_with_retry_after() -> None:
    options = FcmOptions(per_minute=2, retry_after_s=7)
    async with FcmSimulator(options=options) as fcm, Sender(fcm) as sender:
        assert [(await sender.send())[0] for _ in range(2)] == [200, 200]
        status, body, headers = await sender.send()
        assert (status, headers["retry-after"]) == (429, "7")
        assert body["error"]["details"][0]["errorCode"] == "QUOTA_EXCEEDED"


@pytest.mark.parametrize("fault", ["cut", "refuse", "reset", "goaway"])
async def test_over_http_1_1_a_fault_of_the_connection_is_its_end(fault: str) -> None:
    async with FcmSimulator(options=FcmOptions(faults=[f"{fault}:next=2"])) as fcm, Sender(fcm) as sender:
        with pytest.raises(aiohttp.ClientConnectionError):  # aiohttp itself tries a lost one twice
            await sender.send()
        assert fcm.received[0].reason == fault


async def test_silence_over_http_1_1_ends_with_the_simulator() -> None:
    fcm = FcmSimulator(options=FcmOptions(faults=["silence"]))
    await fcm.start()
    async with Sender(fcm) as sender:
        waiting = asyncio.ensure_future(sender.send())
        await fcm.received.wait(1)
        assert not waiting.done()
        await fcm.close()
        with pytest.raises(aiohttp.ClientConnectionError):
            await waiting


async def test_the_plain_port_gives_tokens_that_are_good_on_the_other() -> None:
    async with FcmSimulator() as fcm, Sender(fcm) as sender:
        info = fcm.make_account("demo-project", plain=True).info
        assert info["token_uri"] == f"http://127.0.0.1:{fcm.plain_port}/token"
        form = {
            "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
            "assertion": assertion(info),
        }
        async with sender.session.post(info["token_uri"], data=form) as answer:
            sender.token = (await answer.json())["access_token"]
        assert (await sender.send())[0] == 200


async def test_each_project_has_its_own_account() -> None:
    async with FcmSimulator() as fcm, Sender(fcm) as sender:
        fcm.project_id = "other-project"
        status, body, _ = await sender.send()
        assert (status, body["error"]["status"]) == (403, "PERMISSION_DENIED")


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
async def test_curl_speaks_either_version(version: str) -> None:
    curl = need_program("curl", "curl")
    async with FcmSimulator() as fcm, Sender(fcm) as sender:
        process = await asyncio.create_subprocess_exec(
            *(curl, "-sS", version, "--cacert", str(fcm.ca_file), "-w", "\n%{http_version} %{http_code}"),
            *("-H", f"authorization: Bearer {sender.token}", "-d", json.dumps(MESSAGE)),
            f"{fcm.endpoint}/v1/projects/demo-project/messages:send",
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
        body, _, last = output.decode().rpartition("\n")
        assert last == {"--http1.1": "1.1 200", "--http2": "2 200"}[version]
        assert json.loads(body)["name"]


async def test_accept_all_still_gives_tokens() -> None:
    async with FcmSimulator(hosting=Hosting(accept_all=True)) as fcm, Sender(fcm) as sender:
        assert (await sender.send({"not": "a message"}))[0] == 200
        assert (fcm.answered, len(fcm.received)) == (1, 0)


async def test_h2load_finds_everything_accepted_in_accept_all_mode() -> None:
    h2load = need_program("h2load", "nghttp2-client")
    async with FcmSimulator(hosting=Hosting(accept_all=True)) as fcm:
        process = await asyncio.create_subprocess_exec(
            *(h2load, "-n1000", "-m20", f"{fcm.endpoint}/v1/x"), stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        assert b"1000 succeeded, 0 failed" in output
        assert fcm.answered == 1000


async def test_the_account_is_a_key_file_and_does_not_show() -> None:
    async with FcmSimulator("my-project") as fcm:
        info = json.loads(fcm.credentials_file.read_bytes())
        assert (info["type"], info["project_id"]) == ("service_account", "my-project")
        assert "PRIVATE" in info["private_key"]
        assert "PRIVATE" not in repr(fcm.service_account)
        assert fcm.credentials_file.stat().st_mode & 0o777 == 0o600


async def test_held_answers_wait_over_http_1_1_too() -> None:
    async with FcmSimulator() as fcm, Sender(fcm) as sender:
        fcm.hold()
        sending = asyncio.ensure_future(sender.send())
        await fcm.received.wait(1)
        assert not sending.done()
        fcm.release()
        assert (await sending)[0] == 200
