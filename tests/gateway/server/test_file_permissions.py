"""Files with secrets that other users may read."""

from pathlib import Path

import pytest

from gateway.server import id_secret
from gateway.server.file_permissions import exposed
from tests.gateway.server.test_id_secret import NAME, settings


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(id_secret, "_RETRY_S", 0.01)


def test_a_copy_that_others_may_read_is_reported(redis_address: str, tmp_path: Path) -> None:
    said = settings(redis_address, tmp_path)
    (tmp_path / NAME).write_bytes(b"ab" * 32)
    (tmp_path / NAME).chmod(0o644)
    assert any(NAME in line for line in exposed(said))
