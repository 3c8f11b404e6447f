"""Lines in a file, and the replacement of a long one."""

import errno
import json
import os
import stat
from pathlib import Path

import pytest

from gateway.webhooks.file_sink import KEPT_FILES, FileSink
from protocols.webhooks.attempts import Outcome
from protocols.webhooks.events import PING_COMPLETED, Message

MESSAGE = Message("msg_1-0_ping-completed", PING_COMPLETED, 5, [{"ping_id": "ä"}])


async def test_a_message_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    sink = FileSink(path)
    for _ in range(2):
        assert (await sink.send(MESSAGE)).outcome is Outcome.DELIVERED
    first, second = map(json.loads, path.read_text().splitlines())
    assert first == second == {"id": MESSAGE.id, **json.loads(MESSAGE.body())}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    await sink.close()


async def test_a_long_file_is_replaced_and_some_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    sink = FileSink(path, most_bytes=1)
    for number in range(KEPT_FILES + 3):
        await sink.send(MESSAGE._replace(id=f"msg_{number}"))
    kept = [path, *(tmp_path / f"events.ndjson.{number}" for number in range(1, KEPT_FILES + 1))]
    assert sorted(tmp_path.iterdir()) == sorted(kept)
    found = [json.loads(one.read_text())["id"] for one in kept]
    assert found == [f"msg_{number}" for number in range(KEPT_FILES + 2, 1, -1)]


async def test_a_file_that_cannot_be_written_fails(tmp_path: Path) -> None:
    attempt = await FileSink(tmp_path / "none" / "events").send(MESSAGE)
    assert (attempt.outcome, "No such file" in attempt.error) == (Outcome.FAILED, True)
    (tmp_path / "link").symlink_to(tmp_path / "other")
    assert (await FileSink(tmp_path / "link").send(MESSAGE)).outcome is Outcome.FAILED
    assert not (tmp_path / "other").exists()


async def test_a_pipe_or_device_fails_and_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null")):
        attempt = await FileSink(path).send(MESSAGE)
        assert attempt.outcome is Outcome.FAILED
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


async def test_a_full_disk_fails_and_leaves_no_part_of_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events"
    await FileSink(path).send(MESSAGE)
    before, write = path.read_bytes(), os.write

    def short(descriptor: int, data: bytes) -> int:
        if len(data) < 10:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[:-5])

    monkeypatch.setattr(os, "write", short)
    attempt = await FileSink(path).send(MESSAGE)
    assert (attempt.outcome, "No space left" in attempt.error) == (Outcome.FAILED, True)
    assert path.read_bytes() == before
