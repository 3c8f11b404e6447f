"""HTTP of the client for asyncio programs."""

import socket

import pytest

from gateway.client import async_client as module
from gateway.client.async_client import cancel, deliver
from gateway.client.errors import PingError
from tests.gateway.client.http_server import ID, serving

DONE = {"state": "done", "devices": []}


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_PAUSE_S", 0.01)


async def test_the_receipt_of_a_ping_that_outlasts_the_gateways_wait_is_polled() -> None:
    with serving((504, {}), (200, {"state": "open", "devices": []}), (200, DONE)) as server:
        assert await deliver(f"{server.url}/push", "token", 30, {"user_id": "bob"}) == DONE
        asked = ("GET", f"/push/rc/v1/pings/{ID}")
        assert server.requests == [("POST", "/push/rc/v1/users/ping"), asked, asked]


async def test_a_gateway_that_cannot_answer_for_the_moment_is_asked_again_for_the_receipt() -> None:
    with serving((504, {}), (503, {}), (429, {}), (200, DONE)) as server:
        assert await deliver(server.url, "", 30, {"user_id": "bob"}) == DONE


async def test_a_receipt_that_is_refused_does_not_make_the_ping_a_refused_one() -> None:
    with serving((504, {}), (404, {})) as server, pytest.raises(PingError) as failed:
        await deliver(server.url, "", 30, {"user_id": "bob"})
    assert (failed.value.ping_id, failed.value.refused_with) == (ID, None)


async def test_a_ping_that_does_not_finish_in_time_is_reported_with_its_id() -> None:
    with serving((504, {})) as server:
        with pytest.raises(PingError, match=r"a verdict after 0\.3 s") as failed:
            await deliver(server.url, "", 0.3, {"user_id": "bob"})
        assert ("POST", "/rc/v1/users/ping") in server.requests
    assert failed.value.ping_id == ID


async def test_a_refusal_has_the_text_of_the_gateway() -> None:
    with (
        serving((422, {"error": {"message": "no such token"}})) as server,
        pytest.raises(PingError) as failed,
    ):
        await deliver(server.url, "wrong", 10, {"user_id": "bob"})
    assert (failed.value.errors, failed.value.refused_with) == (("no such token",), 422)


async def test_an_unreachable_server_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(PingError, match=f"http://127.0.0.1:{port} cannot be reached: connection refused"):
        await deliver(f"http://127.0.0.1:{port}", "", 5, {})


async def test_a_ping_is_cancelled() -> None:
    answer = {"ping_id": ID, "state": "cancelled"}
    with serving((202, answer), (404, {"error": {"message": "no such ping"}})) as server:
        assert await cancel(f"{server.url}/push", "token", 10, ID) == answer
        assert server.requests == [("DELETE", f"/push/rc/v1/pings/{ID}")]
        with pytest.raises(PingError, match="no such ping"):
            await cancel(server.url, "token", 10, ID)
    with pytest.raises(PingError, match="cannot be reached"):
        await cancel(server.url, "token", 10, ID)
