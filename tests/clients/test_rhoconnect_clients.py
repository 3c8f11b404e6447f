"""RhoConnect's own clients as real Ruby programs: its admin and device calls by rest-client, and its push adapter."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from redis.asyncio import Redis

from gateway.simulators import ApnsSimulator, FcmSimulator
from tests.clients.senders import HERE, SENDERS
from tests.support.gateway import TOKEN
from tests.support.providers import provider_settings
from tests.support.requirements import need_program
from tests.support.rhoconnect import android, apple, lay_user
from tests.support.worker import Worker, working

ADAPTER = HERE.parents[1] / "deploy" / "rhoconnect" / "rhopush.rb"
GOOD_PIN = "ab" * 32
EXPECTED = [
    ("login", 200, TOKEN),
    ("create", 200, "User created"),
    ("create again", 500, "Record already exists for 'ann'"),
    ("users", 200, '["ann"]'),
    ("users by query", 200, '["ann"]'),
    ("user", 200, None),
    ("update", 200, "User updated"),
    ("device login", 200, ""),
    ("device create", 200, None),
    ("device register", 200, ""),
    ("clients", 200, None),
    ("client", 200, None),
    ("sources", 200, '["News","Product"]'),
    ("console ping", 200, ""),
    ("app of the push service", 204, None),
    ("user of the push service", 204, None),
    ("device logout", 200, ""),
    ("ping after logout", 200, ""),
    ("delete client", 200, "Client deleted"),
    ("delete user", 200, "User deleted"),
    ("no token", 422, "No API token provided"),
]


async def ruby(*arguments: str, **environ: str) -> str:
    """The output of a Ruby program that ended successfully."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        need_program("ruby", "ruby"), *arguments, stdout=pipe, stderr=pipe, env={**os.environ, **environ}
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode().strip()


async def test_every_admin_and_device_route_works_by_rest_client(redis_address: str, tmp_path: Path) -> None:
    SENDERS["ruby"].build(tmp_path)  # rest-client must be installed
    app: dict[str, Any] = {"push_server": "http://someapp:pass@localhost:8675/"}
    sources: dict[str, Any] = {"Product": {}, "News": {}}
    async with (
        ApnsSimulator() as apns,
        FcmSimulator() as fcm,
        working(
            tmp_path,
            redis_address,
            provider_settings(apns, fcm),
            app=app,
            sources=sources,
            environ={"PSWRD": "admin-secret"},
        ) as worker,
    ):
        said = await ruby(str(HERE / "ruby" / "surface.rb"), worker.url, TOKEN, "admin-secret")
        pushes = await apns.received.wait(1)
    answers = [json.loads(line) for line in said.splitlines()]
    assert [(name, status) for name, status, _ in answers] == [(name, status) for name, status, _ in EXPECTED]
    for (name, _, body), (_, _, wanted) in zip(answers, EXPECTED, strict=True):
        assert wanted is None or body == wanted, name
    assert [push.token for push in pushes] == [GOOD_PIN]
    assert pushes[0].payload["aps"]["alert"] == "push message"
    assert pushes[0].payload["do_sync"] == ["Product", "News"]


class Stage(NamedTuple):
    worker: Worker
    apns: ApnsSimulator

    async def act(self, act: str, user: str, **environ: str) -> str:
        """Run the RhoConnect app, and return its output."""
        said = {"RHOPUSH_SERVER": self.worker.url, "API_TOKEN": TOKEN} | environ
        return await ruby(str(HERE / "ruby" / "adapter.rb"), str(ADAPTER), act, user, **said)


@pytest.fixture
async def stage(redis_client: Redis, redis_address: str, tmp_path: Path) -> AsyncIterator[Stage]:
    await lay_user(redis_client, "bob", [apple(GOOD_PIN)])
    await lay_user(redis_client, "eve", [apple("not hex"), android("x" * 30), apple("cd" * 32)])
    async with (
        ApnsSimulator() as apns,
        FcmSimulator() as fcm,
        working(tmp_path, redis_address, provider_settings(apns, fcm, drain_s=1)) as worker,
    ):
        yield Stage(worker, apns)


async def test_a_source_that_announces_its_changes_syncs_the_device_through_the_gateway(stage: Stage) -> None:
    assert await stage.act("announce", "bob") == "done"
    push = (await stage.apns.received.wait(1))[0]
    assert (push.token, push.payload) == (GOOD_PIN, {"aps": {"content-available": 1}, "do_sync": ["Product"]})


@pytest.mark.parametrize("end", ["/", "//"])
async def test_the_servers_address_may_end_in_a_slash(stage: Stage, end: str) -> None:
    assert (
        await stage.act(
            "announce", "bob", RHOPUSH_SERVER=stage.worker.url + end, RAISE_ON="unreachable,refused"
        )
        == "done"
    )
    [push] = await stage.apns.received.wait(1)
    assert (push.token, push.payload["do_sync"]) == (GOOD_PIN, ["Product"])


@pytest.mark.parametrize("path", ["", "/", "/behind/a/proxy", "/behind/a/proxy/"])
async def test_the_ping_is_posted_below_the_servers_address(path: str) -> None:
    """Each request has exactly this path, with no slash too many or too few: RhoConnect accepts no other."""
    lines: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines.append(await reader.readline())
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{path}"
        environ = {"RHOPUSH_SERVER": url, "API_TOKEN": TOKEN}
        said = await ruby(str(HERE / "ruby" / "adapter.rb"), str(ADAPTER), "announce", "bob", **environ)
    assert said == "done"
    assert lines == [f"POST {path.rstrip('/')}/rc/v1/users/ping HTTP/1.1\r\n".encode()]


async def test_rhoconnects_rules_about_sources_hold(stage: Stage) -> None:
    assert await stage.act("silent", "bob") == "done"
    assert await stage.act("directly", "bob") == "done"
    pushes = await stage.apns.received.wait(1)
    assert [push.payload["aps"].get("alert") for push in pushes] == ["from an adapter"]
    assert pushes[0].payload["aps"]["badge"] == 3
    assert pushes[0].payload["do_sync"] == ["Product", "News"]


async def test_a_write_succeeds_although_a_device_is_missing(stage: Stage) -> None:
    assert await stage.act("directly", "eve") == "log: apns: invalid_device_token\ndone"
    assert [push.token for push in await stage.apns.received.wait(1)] == ["cd" * 32]


async def test_a_rejected_device_raises_on_request_after_all_other_deliveries(stage: Stage) -> None:
    said = await stage.act("directly", "eve", RAISE_ON="devices")
    assert said == "Rhopush::Error: apns: invalid_device_token"
    assert [push.token for push in await stage.apns.received.wait(1)] == ["cd" * 32]


async def test_missing_apple_settings_are_logged_as_rhoconnect_does_and_never_raised(
    redis_client: Redis, redis_address: str, tmp_path: Path
) -> None:
    await lay_user(redis_client, "bob", [apple(GOOD_PIN)])
    async with working(tmp_path, redis_address, {}) as worker:
        said = {"RHOPUSH_SERVER": worker.url, "API_TOKEN": TOKEN, "RAISE_ON": "refused,unreachable,devices"}
        out = await ruby(str(HERE / "ruby" / "adapter.rb"), str(ADAPTER), "announce", "bob", **said)
    assert out == "log: Invalid APNS settings: ping is ignored.\ndone"


async def test_a_refused_token_and_an_unresponsive_server_are_distinguished(stage: Stage) -> None:
    assert await stage.act("announce", "bob", API_TOKEN="wrong") == "Rhopush::Error: No API token provided"
    said = await stage.act("announce", "bob", RHOPUSH_SERVER="http://user:hush@127.0.0.1:9")
    assert said.startswith("Rhopush::Error: Rhopush: http://127.0.0.1:9 does not answer: ")
    assert "hush" not in said


@pytest.mark.parametrize("trickle", [False, True])
async def test_an_unresponsive_gateway_delays_a_write_by_at_most_the_budget(trickle: bool) -> None:
    """The budget covers all attempts, and also applies if a byte arrives now and then."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        if trickle:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        try:
            while trickle:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.05)
            await reader.read()
        except ConnectionError:
            return
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    environ = {"RHOPUSH_SERVER": f"http://127.0.0.1:{port}", "API_TOKEN": TOKEN, "BUDGET": "1"}
    try:
        raised = await ruby(str(HERE / "ruby" / "adapter.rb"), str(ADAPTER), "announce", "bob", **environ)
        logged = await ruby(
            str(HERE / "ruby" / "adapter.rb"), str(ADAPTER), "announce", "bob", RAISE_ON="", **environ
        )
    finally:
        server.close()
    text = f"Rhopush: http://127.0.0.1:{port} does not answer: no answer in time"
    assert raised == f"Rhopush::Error: {text}"
    assert logged == f"log: {text}\ndone"
    assert len(heads) == 2, "an attempt that used up the budget is not repeated"


async def test_the_gateway_answers_before_the_budget_of_a_write_ends(stage: Stage) -> None:
    """With a working gateway and a slow provider, the ping is accepted and no error is raised."""
    stage.apns.hold()
    assert await stage.act("announce", "bob", BUDGET="2.5", RAISE_ON="refused,unreachable,devices") == "done"


def answer(status: str, headers: str = "", body: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n{body}".encode("latin-1")


PAGE = "<html>a page of a proxy</html>"
HTML, JSON = "Content-Type: text/html\r\n", "Content-Type: application/json\r\n"
REFUSED = '{"error":{"code":"invalid_field","message":"badge must be a number","field":"badge"}}'
BROKEN = "HTTP/1.1 200 OK\r\n"
LOST = "Rhopush::Error: "
"""With `raise_on: unreachable` alone, other errors are logged."""


class Scripted(NamedTuple):
    """The bytes that the gateway or a proxy sends, the beginning of the adapter's output, and the attempts."""

    sent: bytes
    said: str
    attempts: int = 1


ANSWERS = {
    "accepted": Scripted(answer("200 OK"), "done"),
    "an odd page": Scripted(answer("200 OK", HTML, PAGE), "done"),
    "still open": Scripted(answer("504 Gateway Timeout", f"{JSON}X-Ping-Id: 1\r\n", "{}"), "done"),
    "a proxy's 504": Scripted(answer("504 Gateway Timeout", HTML, PAGE), f"{LOST}504 Gateway Timeout"),
    "a proxy's 502": Scripted(answer("502 Bad Gateway", HTML, PAGE), f"{LOST}502 Bad Gateway"),
    "a failure": Scripted(
        answer("500 Internal Server Error", JSON, "{}"), f"{LOST}500 Internal Server Error"
    ),
    "busy": Scripted(answer("503 Service Unavailable", JSON, REFUSED), f"{LOST}badge must be a number"),
    "too many": Scripted(answer("429 Too Many Requests"), f"{LOST}429 Too Many Requests"),
    "refused": Scripted(answer("400 Bad Request", JSON, REFUSED), "log: badge must be a number\ndone"),
    "no such route": Scripted(answer("404 Not Found", HTML, PAGE), "log: 404 Not Found\ndone"),
    "elsewhere": Scripted(
        answer("301 Moved Permanently", "Location: /x\r\n"), "log: 301 Moved Permanently\ndone"
    ),
    "text": Scripted(
        answer("422 Unprocessable", "Content-Type: text/plain\r\n", "No \xff"), "log: No \ufffd\ndone"
    ),
    "nothing": Scripted(b"", f"{LOST}Rhopush: http://127.0.0.1:", 3),
    "no HTTP": Scripted(b"SSH-2.0-OpenSSH\r\n\r\n", f"{LOST}Rhopush: http://127.0.0.1:", 3),
    "half a body": Scripted(f"{BROKEN}Content-Length: 9\r\n\r\nx".encode(), "done"),  # the status says all
    "no length": Scripted(
        f"{BROKEN}Content-Length: x\r\n\r\n".encode(), f"{LOST}Rhopush: http://127.0.0.1:", 3
    ),
    "no chunk": Scripted(
        f"{BROKEN}Transfer-Encoding: chunked\r\n\r\nx\r\n".encode(), f"{LOST}Rhopush: http://127.0.0.1:", 3
    ),
    "no gzip": Scripted(
        answer("200 OK", "Content-Encoding: gzip\r\n", "xyz"), f"{LOST}Rhopush: http://127.0.0.1:", 3
    ),
}


@pytest.mark.parametrize("scripted", ANSWERS.values(), ids=ANSWERS)
async def test_each_answer_is_an_error_of_its_kind_and_of_no_other_class(scripted: Scripted) -> None:
    """A write of RhoConnect becomes 500 where `raise_on` says so, and never by an error of a library."""
    attempts: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        attempts.append(head)
        await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
        writer.write(scripted.sent)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        environ = {"RHOPUSH_SERVER": url, "API_TOKEN": TOKEN, "RAISE_ON": "unreachable"}
        said = await ruby(str(HERE / "ruby" / "adapter.rb"), str(ADAPTER), "announce", "bob", **environ)
    assert said == scripted.said or (scripted.said.endswith(":") and said.startswith(scripted.said))
    assert PAGE not in said
    keys = {line for head in attempts for line in head.split(b"\r\n") if line.startswith(b"Idempotency-Key")}
    assert (len(attempts), len(keys)) == (scripted.attempts, 1), "each attempt has the same key"


async def test_threads_a_forked_worker_and_texts_of_every_encoding(stage: Stage) -> None:
    for act in ("threads", "resque", "texts"):  # a token from a file has a line end
        assert await stage.act(act, "bob", API_TOKEN=f" {TOKEN}\n") == "done"
    alerts = [push.payload["aps"]["alert"] for push in await stage.apns.received.wait(10)]
    assert sorted(alerts[:8]) == [str(number) for number in range(8)]
    assert alerts[8:] == ["a job", {"title": "caf\u00e9", "body": "\ufffd", "own": "gr\u00fc\u00dfe"}]


async def test_parameters_that_are_no_json_are_refused() -> None:
    environ = {"RHOPUSH_SERVER": "http://127.0.0.1:9", "API_TOKEN": TOKEN, "RAISE_ON": ""}
    said = await ruby(str(HERE / "ruby" / "adapter.rb"), str(ADAPTER), "no json", "bob", **environ)
    assert said.startswith("log: Rhopush: the parameters cannot be written as JSON: ")


@pytest.mark.parametrize(
    ("setting", "text", "error"),
    [
        ("API_TOKEN", "hush\nhush", "the API token contains a character that no token has"),
        ("API_TOKEN", " ", "no API token: set API_TOKEN or call Rhopush.configure"),
        ("RHOPUSH_SERVER", "hush:9292", "the server must be an address such as http://127.0.0.1:9292"),
        ("RHOPUSH_SERVER", "http://", "the server must be an address such as http://127.0.0.1:9292"),
        ("RHOPUSH_SERVER", "http://a b", "the server must be an address such as http://127.0.0.1:9292"),
    ],
)
async def test_a_setting_that_cannot_be_used_is_named(setting: str, text: str, error: str) -> None:
    environ = {"RHOPUSH_SERVER": "http://127.0.0.1:9", "API_TOKEN": TOKEN, setting: text}
    program = [str(HERE / "ruby" / "adapter.rb"), str(ADAPTER), "announce", "bob"]
    assert await ruby(*program, **environ) == f"Rhopush::Error: Rhopush: {error}"
    assert await ruby(*program, RAISE_ON="", **environ) == f"log: Rhopush: {error}\ndone"


async def test_an_unknown_kind_of_error_is_refused_by_name(stage: Stage) -> None:
    said = await stage.act("announce", "bob", RAISE_ON="everything")
    assert said == "raise_on: [:everything] is none of [:refused, :unreachable, :devices]"


@pytest.mark.parametrize(
    ("value", "meaning"),
    [
        ("nil", "[:refused, :unreachable]"),
        ("[]", "[]"),
        ("false", "[]"),
        (":devices", "[:devices]"),
        ("'devices'", "[:devices]"),
        ("[' refused', :unreachable]", "[:refused, :unreachable]"),
        ("true", "raise_on: [true] is none of [:refused, :unreachable, :devices]"),
        ("5", "raise_on: [5] is none of [:refused, :unreachable, :devices]"),
    ],
)
async def test_the_values_of_raise_on(value: str, meaning: str) -> None:
    program = f"require '{ADAPTER}'; begin; Rhopush.configure(raise_on: {value}); p Rhopush.raise_on; "
    program += "rescue ArgumentError => e; puts e.message; end"
    assert await ruby("-r", str(HERE / "ruby" / "rhoconnect_stand_in.rb"), "-e", program) == meaning


async def test_requiring_it_too_early_is_reported() -> None:
    said = await ruby("-e", f"begin; require '{ADAPTER}'; rescue LoadError => e; puts e.message; end")
    assert said == "rhopush: require it after RhoConnect: Rhoconnect::PingJob is not there yet"


async def test_rhoconnect_4_loads_it_from_its_controllers(tmp_path: Path) -> None:
    """Load it as RhoConnect's `start_app` does, both in the web server and in Resque workers."""
    controllers = tmp_path / "controllers" / "ruby"
    controllers.mkdir(parents=True)
    shutil.copy(ADAPTER, controllers)
    said = await ruby(
        "-r",
        str(HERE / "ruby" / "rhoconnect_stand_in.rb"),
        "-e",
        f"Dir['{controllers}/*.rb'].each {{ |file| require file }}; puts Rhoconnect::PingJob.method(:perform).owner",
    )
    assert said == "Rhopush::Perform"
