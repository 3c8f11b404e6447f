"""Lines in a file, and the replacement of a long one."""

import asyncio
import contextlib
import errno
import fcntl
import json
import os
import stat
from pathlib import Path

import pytest

from gateway.webhooks import file_sink
from gateway.webhooks.file_sink import KEPT_FILES, FileSink
from protocols.webhooks.attempts import DeliveryAttempt, Outcome
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


async def test_several_writers_of_one_file_rename_it_once_when_it_is_long(tmp_path: Path) -> None:
    path, most_bytes = tmp_path / "events.ndjson", 2_000
    sinks = [FileSink(path, most_bytes) for _ in range(4)]
    for number in range(100):
        message = MESSAGE._replace(id=f"msg_{number}")
        attempts = await asyncio.gather(*(sink.send(message) for sink in sinks))
        assert {attempt.outcome for attempt in attempts} == {Outcome.DELIVERED}
        kept = [tmp_path / f"events.ndjson.{earlier}" for earlier in range(1, KEPT_FILES + 1)]
        assert all(one.stat().st_size >= most_bytes for one in kept if one.exists())
    lines = [line for one in reversed([path, *kept]) for line in one.read_text().splitlines()]
    ids = [json.loads(line)["id"] for line in lines]
    first = ids[0].removeprefix("msg_")
    assert ids[-4:] == ["msg_99"] * 4
    assert all(ids.count(f"msg_{number}") == len(sinks) for number in range(int(first) + 1, 100))


async def test_a_line_of_another_writer_survives_a_write_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, write, other = tmp_path / "events", os.write, MESSAGE._replace(id="msg_other")
    tried: list[asyncio.Future[DeliveryAttempt]] = []
    loop = asyncio.get_running_loop()

    def full(descriptor: int, data: bytes) -> int:
        if b"msg_other" in data:
            return write(descriptor, data)
        future = asyncio.run_coroutine_threadsafe(FileSink(path).send(other), loop)
        tried.append(asyncio.wrap_future(future, loop=loop))
        with contextlib.suppress(TimeoutError):
            future.result(0.2)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    assert (await FileSink(path).send(MESSAGE)).outcome is Outcome.FAILED
    assert (await tried[0]).outcome is Outcome.DELIVERED
    assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == ["msg_other"]


async def test_a_file_that_another_process_keeps_locked_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_sink, "LOCK_S", 0.05)
    path = tmp_path / "events"
    with path.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        attempt = await FileSink(path).send(MESSAGE)
        assert (attempt.outcome, "locked by another process" in attempt.error) == (Outcome.FAILED, True)
    assert (await FileSink(path).send(MESSAGE)).outcome is Outcome.DELIVERED


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP])
async def test_a_file_system_without_locks_has_its_lines_nevertheless(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", unsupported)
    assert (await FileSink(tmp_path / "events").send(MESSAGE)).outcome is Outcome.DELIVERED
    monkeypatch.undo()
    assert len((tmp_path / "events").read_text().splitlines()) == 1


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
