"""Common functions of both simulators: listening, suspension, recording and closing."""

import asyncio
import json
from pathlib import Path

import pytest

from gateway.simulators import ApnsOptions, ApnsSimulator, Hosting
from tests.gateway.simulators.client import PIN, connected, provider_token, push


async def test_the_record_file_has_a_line_a_request_at_once(tmp_path: Path) -> None:
    file = tmp_path / "pushes.jsonl"
    lines: list[str] = []
    hosting = Hosting(record_file=file, on_push=lambda record: lines.append(record.line()))
    async with ApnsSimulator(ApnsOptions(faults=["410:dead"]), hosting) as apns, connected(apns) as client:
        token = provider_token(apns.signing_key)
        await client.send(push(token))
        await client.send(push(token, "dead" * 4))
        written = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(line["token"], line["status"], line["reason"]) for line in written] == [
        (PIN, 200, ""),
        ("dead" * 4, 410, "Unregistered"),
    ]
    assert written[0]["payload"] == {"aps": {"alert": "hi"}}
    assert written[0]["summary"]["alert"] == "hi"
    assert lines == ["apns abababab… 'hi'", "apns deaddead… 410 Unregistered"]
    assert file.stat().st_mode & 0o777 == 0o600


async def test_a_closed_simulator_leaves_nothing_behind() -> None:
    apns = ApnsSimulator()
    await apns.start()
    folder, port = apns.ca_file.parent, apns.port
    assert folder.stat().st_mode & 0o777 == 0o700
    async with connected(apns) as client:
        await apns.close()
        await client.lost
    assert not folder.exists()
    assert not apns.open_connections
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_a_suspended_simulator_is_unreachable_and_comes_back_on_its_port() -> None:
    async with ApnsSimulator() as apns:
        token = provider_token(apns.signing_key)
        async with connected(apns) as client:
            await client.send(push(token))
            await apns.suspend()
            await client.lost
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", apns.port)
        await apns.resume()
        async with connected(apns) as client:
            assert (await client.send(push(token))).status == 200
        assert [record.connection for record in apns.received] == [1, 2]


async def test_a_client_may_use_the_name_it_was_given() -> None:
    async with ApnsSimulator(hosting=Hosting(host="0.0.0.0", name="simulator.test")) as apns:
        context = apns.authority.client_context()
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", apns.port, ssl=context, server_hostname="simulator.test"
        )
        assert await reader.readexactly(9)  # the server's SETTINGS: the handshake succeeded
        writer.transport.abort()
        assert apns.hosting.reached_at == "simulator.test"


@pytest.mark.parametrize(
    ("host", "reached"), [("0.0.0.0", "127.0.0.1"), ("::", "localhost"), ("10.0.0.1", "10.0.0.1")]
)
def test_an_address_for_all_is_reached_at_loopback(host: str, reached: str) -> None:
    assert Hosting(host=host).reached_at == reached
