"""The configuration that a worker receives at its start."""

from gateway.server.ipc import WorkerConfig, pack, unpack
from gateway.settings import Secret, Settings


def test_a_worker_gets_its_configuration_in_two_lines() -> None:
    order = WorkerConfig(
        slot=2,
        gateway_id="abc",
        module="gateway.server.worker",
        command="rps",
        socket_fd=5,
        status_fd=7,
        metrics_fd=9,
    )
    settings = Settings(redis=Secret("db\n"), api_token=Secret("hush"))
    lines = pack(order, settings).splitlines()
    assert len(lines) == 2
    assert unpack(*lines) == (order, settings)
    assert "hush" not in repr(unpack(*lines))
