"""nginx as a provider."""

import os
import socket
import ssl
from pathlib import Path

import pytest

from gateway.bench import nginx as nginx_module
from gateway.bench.errors import CannotMeasure
from gateway.bench.nginx import nginx


def test_it_speaks_http2_over_tls_until_the_end_of_the_block(tmp_path: Path) -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with nginx(tmp_path) as (port, pid):
        os.kill(pid, 0)
        with (
            socket.create_connection(("127.0.0.1", port)) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as tls,
        ):
            assert tls.selected_alpn_protocol() == "h2"
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_refused_configuration_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nginx_module, "_START_S", 0.0)
    monkeypatch.setattr(nginx_module, "_CONFIGURATION", "no_such_directive;")
    with pytest.raises(CannotMeasure, match="nginx does not start"), nginx(tmp_path):
        pass
