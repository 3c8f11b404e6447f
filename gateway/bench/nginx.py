"""A provider made of nginx: a server in C that answers every push with 200, where it is installed."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import trustme

from gateway.bench.errors import CannotMeasure

_CONFIGURATION: Final = """
daemon off; master_process off; worker_processes 1; pid {folder}/pid; error_log stderr error;
events {{ worker_connections 64; }}
http {{
    access_log off; client_body_temp_path {folder}/bodies; http2_max_concurrent_streams 1000;
    keepalive_requests 100000000;
    server {{
        listen 127.0.0.1:{port} ssl http2;
        ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.pem;
        location /3/ {{ return 200; }}
    }}
}}
"""
_START_S: Final = 5.0


@contextmanager
def nginx(folder: Path) -> Iterator[tuple[int, int]]:
    """Run nginx until the context is left.

    Yields:
        Its port on 127.0.0.1, with TLS and HTTP/2, and the process id.

    Raises:
        CannotMeasure: it is not installed, or does not start.
    """
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        raise CannotMeasure("nginx is not installed (Debian package nginx-light)")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    file = folder / "nginx.conf"
    file.write_text(_CONFIGURATION.format(folder=folder, port=port))
    with subprocess.Popen(
        [program, "-p", str(folder), "-c", str(file)], stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL
    ) as process:
        try:
            _wait(port)
            yield port, process.pid
        finally:
            process.terminate()


def _wait(port: int) -> None:
    until = time.monotonic() + _START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError as error:
            if time.monotonic() > until:
                raise CannotMeasure("nginx does not start") from error
            time.sleep(0.02)
        else:
            return
