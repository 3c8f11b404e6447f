"""Requests of the client to a gateway, and the parsing of the responses."""

import json
from typing import Any

import pytest

from gateway.client.errors import PingError
from gateway.client.messages import (
    ClientResponse,
    accepted,
    failure,
    failures,
    json_of,
    list_request,
    ping_request,
    report_of,
    report_request,
)

ID = "0" * 32


def response(status: int, body: Any = b"", ping_id: str | None = ID) -> ClientResponse:
    headers = {} if ping_id is None else {"x-ping-id": ping_id}
    return ClientResponse(status, headers, body if isinstance(body, bytes) else json.dumps(body).encode())


def test_a_ping_has_the_given_parameters_only() -> None:
    request = ping_request({"user_id": "bob", "message": None, "badge": 0}, " token\n")
    assert (request.method, request.path) == ("POST", "/rc/v1/users/ping")
    assert json.loads(request.body or b"") == {"user_id": "bob", "badge": 0}
    assert request.headers == {"Content-Type": "application/json", "X-RhoConnect-API-TOKEN": "token"}


def test_a_ping_that_is_waited_for_asks_for_the_report() -> None:
    request = ping_request({"user_id": "bob"}, "", timeout_s=1.5)
    assert json.loads(request.body or b"")["wait"] is True
    assert request.headers == {"Content-Type": "application/json", "Prefer": "return=representation"}


@pytest.mark.parametrize(("timeout_s", "wait"), [(2.0, 1), (30.5, 29), (1e9, 86_399)])
def test_the_gateway_is_asked_to_answer_before_the_client_gives_up(timeout_s: float, wait: int) -> None:
    request = ping_request({"user_id": "bob"}, "", timeout_s=timeout_s)
    assert request.headers["Prefer"] == f"return=representation, wait={wait}"


@pytest.mark.parametrize("token", ["tökén", "a\r\nX: y"])
def test_a_token_that_no_header_carries_is_refused(token: str) -> None:
    with pytest.raises(PingError, match="not allowed in an HTTP header") as refused:
        report_request(ID, token)
    assert token not in str(refused.value)


def test_only_200_is_accepted() -> None:
    assert accepted(response(200)) == ID
    with pytest.raises(PingError) as refused:
        accepted(response(503, {"error": {"message": "the queue is full"}}))
    assert (refused.value.errors, refused.value.refused_with) == (("the queue is full",), 503)
    assert refused.value.ping_id == ID


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"Bad Gateway", "Bad Gateway"),
        (b"", "HTTP status 502 (Bad Gateway)"),
        (b"\n<html>\n<body>", "HTTP status 502 (Bad Gateway)"),
        (b"[1]", "[1]"),
        (b'{"error": "no"}', '{"error": "no"}'),
    ],
)
def test_a_refusal_in_any_form_has_a_text(body: bytes, text: str) -> None:
    with pytest.raises(PingError) as refused:
        accepted(response(502, body, None))
    assert refused.value.errors == (text,)


def test_a_report_exists_when_every_device_has_its_verdict() -> None:
    assert report_of(response(504)) is None
    assert report_of(response(200, {"state": "open", "devices": []})) is None
    done = {"state": "done", "devices": []}
    assert report_of(response(200, done)) == done
    with pytest.raises(PingError, match="HTTP status 504"):
        report_of(response(504, ping_id=None))


def test_each_unreached_device_has_a_text() -> None:
    devices = [
        {"client_id": "a", "verdict": "accepted"},
        {"client_id": "b", "verdict": "rejected", "reason": "Unregistered"},
        {"verdict": "rejected", "reason": ""},
    ]
    assert failures({"devices": devices}) == ["b: Unregistered", "?: rejected"]


def test_a_missing_response_is_described_by_the_client() -> None:
    assert (
        failure(ConnectionRefusedError(111, "Connect call failed ('10.0.0.1', 9292)")) == "connection refused"
    )
    assert failure(RuntimeError("x")) == "the connection was closed before the response"


def test_an_id_cannot_lead_to_another_route() -> None:
    assert report_request("../users?x", "").path == "/rc/v1/pings/..%2Fusers%3Fx"


def test_the_list_of_pings_is_requested_with_its_parameters() -> None:
    request = list_request({"limit": 5, "state": "open", "cursor": None}, "token")
    assert (request.method, request.path) == ("GET", "/rc/v1/pings?limit=5&state=open")
    assert request.headers == {"X-RhoConnect-API-TOKEN": "token"}


def test_a_response_must_be_a_json_object() -> None:
    assert json_of(response(200, {"pings": []})) == {"pings": []}
    for refused in (response(200, b"<html>"), response(404, {"error": {"message": "no such ping"}})):
        with pytest.raises(PingError):
            json_of(refused)
