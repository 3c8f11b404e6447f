"""The transport against an independent HTTP/2 server: nginx."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme

from gateway.transport.feed import Endpoint
from gateway.transport.pool import ConnectionPool, Tuning
from gateway.transport.tls import client_context
from protocols.http2.client import OutcomeKind
from tests.support.ports import free_port
from tests.support.provider import ListFeed
from tests.support.requirements import need_program

CONFIGURATION = """
daemon off; master_process off; pid {folder}/pid; error_log stderr error;
events {{ worker_connections 64; }}
http {{
    access_log off; client_body_temp_path {folder}/body; http2_max_concurrent_streams 40;
    server {{
        listen 127.0.0.1:{port} ssl http2;
        ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.pem;
        keepalive_requests 300;
        location /3/ {{ return 200; }}
    }}
}}
"""


@pytest.fixture
async def nginx(tmp_path: Path) -> AsyncIterator[Endpoint]:
    """nginx with a limit of 40 streams, which sends GOAWAY after 300 requests of a connection."""
    program = need_program("nginx", "nginx-light")
    ca, port = trustme.CA(), free_port()
    issued = ca.issue_cert("127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    (tmp_path / "nginx.conf").write_text(CONFIGURATION.format(folder=tmp_path, port=port))
    process = await asyncio.create_subprocess_exec(
        program, "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf"), stderr=asyncio.subprocess.DEVNULL
    )
    yield Endpoint("127.0.0.1", port, client_context(ca_file=tmp_path / "ca.pem"), "push.test")
    process.terminate()
    await process.wait()


async def test_a_server_that_goes_away_every_300_requests_loses_none(nginx: Endpoint) -> None:
    feed = ListFeed(3000, body=b'{"aps":{"alert":"hello"}}')
    pool = ConnectionPool(
        nginx,
        feed,
        connections_max=2,
        deadline_s=30,
        tuning=Tuning(backoff_first_s=0.01, backoff_most_s=0.05),
    )
    pool.wake()
    await feed.all_settled()
    assert [one.kind for one in feed.outcomes] == [OutcomeKind.ANSWERED] * 3000
    assert feed.statuses == [200] * 3000
    opened = [connected for connected, _ in feed.links]
    # each of at least ten connections was opened, and all but the last were closed
    assert len(opened) >= 2 * 9
    assert set(feed.errors) <= {"connection refused"}  # before it listened
    await pool.close(5)
