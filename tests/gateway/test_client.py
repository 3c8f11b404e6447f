"""Every call of the client against servers that are no gateway, and with parameters that no request can hold."""

import asyncio
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any

import pytest

from gateway.client import PingError, PingJob
from tests.gateway.client.raw_server import raw, with_body

ID = "0" * 32


def _aperform(**parameters: Any) -> object:
    return asyncio.run(PingJob.aperform(**parameters))


def _bulk(**parameters: Any) -> object:
    return list(PingJob.bulk([parameters]))


def _endless_bulk(**parameters: Any) -> object:
    return list(PingJob.bulk(repeat(parameters)))


def _cancel(**_: Any) -> object:
    return PingJob.cancel(ID)


def _acancel(**_: Any) -> object:
    return asyncio.run(PingJob.acancel(ID))


Call = Callable[..., object]
SENDING: tuple[Call, ...] = (PingJob.perform, PingJob.enqueue, _aperform, _bulk, _endless_bulk)
CALLS: tuple[Call, ...] = (*SENDING, _cancel, _acancel)


@pytest.fixture(autouse=True)
def _reset() -> Iterator[None]:
    yield
    PingJob.configure()


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "body", [b"<html>\n<p>Welcome</p>", b'{"ok": true}', b"[1]", b"<p>", b"7\n", b"{}\n"]
)
def test_a_success_of_another_server_is_an_error(call: Call, body: bytes) -> None:
    with raw(with_body(body)) as server:
        PingJob.configure(server=server.url, token="secret")
        with pytest.raises(PingError, match="is the URL that of a gateway") as failed:
            call(user_id="a")
    assert failed.value.refused_with == 200
    assert len(server.requests) == 1


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Other", "308 Other"])
def test_a_redirect_is_an_error_that_names_its_target(call: Call, status: str) -> None:
    with raw(with_body(b"")) as target:
        header = f"Location: {target.url}/x?token=1\r\n"
        with raw(with_body(b"", status, header)) as server:
            PingJob.configure(server=server.url, token="secret")
            with pytest.raises(PingError, match=f"redirects to {target.url}/x, ") as failed:
                call(user_id="a")
    assert failed.value.refused_with == int(status[:3])
    assert target.requests == []  # the token does not leave for another server


@pytest.mark.parametrize("call", CALLS)
def test_the_time_limit_covers_a_response_that_arrives_byte_by_byte(call: Call) -> None:
    with raw(None) as server:
        PingJob.configure(server=server.url, token="secret", timeout_s=0.3)
        with pytest.raises(PingError, match="cannot be reached: timed out"):
            call(user_id="a")


@pytest.mark.parametrize("call", [_bulk, _endless_bulk])
@pytest.mark.parametrize("body", [b'{"ping_id"', b""])
def test_a_bulk_response_that_is_cut_off_ends_at_the_time_limit(call: Call, body: bytes) -> None:
    cut = with_body(body).replace(b"Content-Length: ", b"Content-Length: 9")
    with raw(cut) as server:
        PingJob.configure(server=server.url, token="secret", timeout_s=0.5)
        with pytest.raises(PingError, match="cannot be reached"):
            call(user_id="a")


def test_a_bulk_error_names_the_status_that_the_server_repeats() -> None:
    with raw(with_body(b"", "503 Busy")) as server:
        PingJob.configure(server=server.url, token="secret", timeout_s=0.2)
        with pytest.raises(PingError, match=r"no line for 0\.2 s: HTTP status 503 \(Service Unavailable\)"):
            _bulk(user_id="a")


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "server", ["http://127.0.0.1:1/?x=1", "http://127.0.0.1:1#x", "http://127.0.0.1:1/a b"]
)
def test_no_call_accepts_a_url_that_its_paths_cannot_follow(call: Call, server: str) -> None:
    PingJob.configure(server=server, token="secret")
    with pytest.raises(PingError, match="the server must be an http or https URL"):
        call(user_id="a")


_CIRCULAR: list[Any] = []
_CIRCULAR.append(_CIRCULAR)


@pytest.mark.parametrize("call", [PingJob.perform, PingJob.enqueue, _aperform])
@pytest.mark.parametrize("value", [float("nan"), _CIRCULAR, 10**5_000], ids=["nan", "circular", "digits"])
def test_parameters_without_a_json_form_are_not_reported_as_a_lost_connection(call: Call, value: Any) -> None:
    PingJob.configure(server="http://127.0.0.1:1", token="secret")
    with pytest.raises(PingError, match="the parameters are no JSON"):
        call(user_id="a", message=value)


@pytest.mark.parametrize("item", [5, None, [1, 2], object()])
def test_an_item_of_bulk_that_is_no_ping_is_named(item: Any) -> None:
    PingJob.configure(server="http://127.0.0.1:1", token="secret")
    with pytest.raises(TypeError, match="a ping is a mapping") as failed:
        list(PingJob.bulk(iter([item])))
    assert failed.value.__notes__ == ["in item 1 of PingJob.bulk"]


@pytest.mark.parametrize("pings", [{"user_id": "a"}, '{"user_id": "a"}', b"{}"])
def test_bulk_takes_no_single_ping(pings: Any) -> None:
    with pytest.raises(TypeError, match="an iterable of pings"):
        list(PingJob.bulk(pings))


async def test_bulk_in_an_event_loop_names_abulk() -> None:
    with pytest.raises(RuntimeError, match=r"use PingJob\.abulk"):
        list(PingJob.bulk([{"user_id": "a"}]))


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf")])
def test_a_time_limit_is_a_number_of_seconds(timeout_s: float) -> None:
    with pytest.raises(ValueError, match="timeout_s must be seconds"):
        PingJob.configure(timeout_s=timeout_s)
