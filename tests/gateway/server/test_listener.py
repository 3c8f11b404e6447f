"""The one listening socket."""

import socket

import pytest

from gateway.server.listener import CannotListen, listen, url_of


def test_port_0_binds_any_free_port() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert url_of(listener) == f"http://127.0.0.1:{port}"
        assert listener.getblocking() is False
        with socket.create_connection(("127.0.0.1", port)) as link:
            assert link.getpeername()[1] == port


def test_a_port_in_use_is_reported() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(
            CannotListen, match=rf"cannot listen on 127\.0\.0\.1:{port}: Address already in use"
        ):
            listen("127.0.0.1", port)


def test_a_foreign_address_is_reported() -> None:
    with pytest.raises(
        CannotListen, match=r"cannot listen on 192\.0\.2\.1:0: Cannot assign requested address"
    ):
        listen("192.0.2.1", 0)
    with pytest.raises(CannotListen, match=r"cannot listen on no\.such\.host\.invalid:0: "):
        listen("no.such.host.invalid", 0)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 in this Python")
def test_ipv6_is_bracketed() -> None:
    with listen("::1", 0) as listener:
        assert url_of(listener).startswith("http://[::1]:")
