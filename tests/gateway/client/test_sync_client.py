"""HTTP of the client with the standard library alone."""

import socket

import pytest

from gateway.client import sync_client as module
from gateway.client.errors import PingError
from gateway.client.messages import ClientResponse, refusal
from gateway.client.sync_client import SyncClient
from tests.gateway.client.http_server import ID, serving

DONE = {"state": "done", "devices": []}


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_PAUSE_S", 0.01)


def test_a_ping_is_accepted_below_the_path_of_the_server() -> None:
    with serving((200, {})) as server:
        assert SyncClient(f"{server.url}/push/", "token", 10).send({"user_id": "bob"}) == ID
        assert server.requests == [("POST", "/push/rc/v1/users/ping")]


def test_the_receipt_of_a_ping_that_outlasts_the_gateways_wait_is_polled() -> None:
    with serving((504, {}), (200, {"state": "open", "devices": []}), (200, DONE)) as server:
        assert SyncClient(server.url, "", 30).deliver({"user_id": "bob"}) == DONE
        assert server.requests[1:] == [("GET", f"/rc/v1/pings/{ID}")] * 2


def test_a_gateway_that_cannot_answer_for_the_moment_is_asked_again_for_the_receipt() -> None:
    with serving((504, {}), (503, {}), (429, {}), (200, DONE)) as server:
        assert SyncClient(server.url, "", 30).deliver({"user_id": "bob"}) == DONE


def test_a_receipt_that_is_refused_does_not_make_the_ping_a_refused_one() -> None:
    with serving((504, {}), (404, {})) as server, pytest.raises(PingError) as failed:
        SyncClient(server.url, "", 30).deliver({"user_id": "bob"})
    assert (failed.value.ping_id, failed.value.refused_with) == (ID, None)


def test_a_ping_that_does_not_finish_in_time_is_reported_with_its_id() -> None:
    with serving((504, {})) as server, pytest.raises(PingError, match=r"a verdict after 0\.2 s") as failed:
        SyncClient(server.url, "", 0.2).deliver({"user_id": "bob"})
    assert failed.value.ping_id == ID


@pytest.mark.parametrize(
    "server",
    [
        *("127.0.0.1:9292", "ftp://gateway", "http://", ""),
        *("http://[::1", "http://gateway:port", "http://gateway:99999", "http://gateway/ä"),
    ],
)
def test_a_server_is_an_http_url(server: str) -> None:
    with pytest.raises(PingError, match="must be an http or https URL"):
        SyncClient(server, "", 1)


def test_an_unreachable_server_is_reported_without_its_password() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(PingError) as failed:
        SyncClient(f"http://ann:secret@127.0.0.1:{port}", "", 5).send({})
    assert str(failed.value) == f"http://127.0.0.1:{port} cannot be reached: connection refused"


def test_a_name_that_is_no_host_is_reported() -> None:
    with pytest.raises(PingError, match="cannot be reached: not a valid host name"):
        SyncClient("http://gateway..example", "", 5).send({})


def test_the_page_of_another_server_is_described_by_its_status() -> None:
    answer = ClientResponse(404, {}, b"\n<html>\n<body>" + b"x" * 10_000)
    assert refusal(answer).message == "HTTP status 404 (Not Found)"


def test_pings_are_listed_and_shown() -> None:
    page = {"pings": [], "next_cursor": None}
    with serving((200, page), (200, DONE), (404, {"error": {"message": "no such ping"}})) as server:
        client = SyncClient(server.url, "token", 10)
        assert client.pings({"limit": 1}) == page
        assert client.report(ID) == DONE
        with pytest.raises(PingError, match="no such ping") as failed:
            client.report(ID)
        assert failed.value.refused_with == 404
        paths = ["/rc/v1/pings?limit=1", f"/rc/v1/pings/{ID}", f"/rc/v1/pings/{ID}"]
        assert server.requests == [("GET", path) for path in paths]


def test_a_ping_is_cancelled() -> None:
    answer = {"ping_id": ID, "state": "open"}
    with serving((202, answer), (409, {"error": {"message": "the ping is finished"}})) as server:
        client = SyncClient(server.url, "token", 10)
        assert client.cancel(ID) == answer
        assert server.requests == [("DELETE", f"/rc/v1/pings/{ID}")]
        with pytest.raises(PingError, match="finished") as failed:
            client.cancel(ID)
        assert failed.value.refused_with == 409
