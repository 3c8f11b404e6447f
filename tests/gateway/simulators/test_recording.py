"""The recording: waiting, following, forgetting."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from gateway.simulators.recording import RecordFile, Recording, SimulatedRecord


def record(token: str, status: int = 200) -> SimulatedRecord:
    return SimulatedRecord(1.0, "apns", 1, token, "topic", status, "" if status == 200 else "Bad", {}, None)


async def test_waiting_ends_when_there_are_enough() -> None:
    recording = Recording()
    waiting = asyncio.ensure_future(recording.wait(2))
    recording.append(record("a"))
    await asyncio.sleep(0)
    assert not waiting.done()
    recording.append(record("b"))
    assert [item.token for item in await waiting] == ["a", "b"]


async def test_waiting_for_accepted_ones_counts_no_others() -> None:
    recording = Recording()
    waiting = asyncio.ensure_future(recording.wait_accepted(2))
    for token, status in (("a", 200), ("b", 410), ("c", 200)):
        assert not waiting.done()
        recording.append(record(token, status))
        await asyncio.sleep(0)
    assert [item.token for item in await waiting] == ["a", "c"]
    assert (recording.total, recording.total_accepted) == (3, 2)


async def test_waiting_has_an_end() -> None:
    with pytest.raises(TimeoutError):
        await Recording().wait(1, timeout_s=0.01)


async def test_a_follower_misses_none_and_leaves_nothing_behind() -> None:
    recording = Recording()
    recording.append(record("before"))
    seen: list[str] = []
    following = recording.follow()
    first = asyncio.ensure_future(anext(following))
    await asyncio.sleep(0)
    for token in ("a", "b", "c"):
        recording.append(record(token))
    seen.append((await first).token)
    seen += [(await anext(following)).token for _ in range(2)]
    assert seen == ["a", "b", "c"]
    await following.aclose()
    assert recording._observers == []


async def test_only_the_newest_are_kept() -> None:
    recording = Recording(keep=3)
    for number in range(7):
        recording.append(record(str(number)))
    assert [item.token for item in recording] == ["4", "5", "6"]
    assert recording.total == 7
    assert recording[-1].token == "6"
    assert [item.token for item in recording[:2]] == ["4", "5"]


async def test_it_can_be_cleared() -> None:
    recording = Recording()
    recording.append(record("a"))
    recording.clear()
    assert (len(recording), recording.total) == (0, 1)


def test_two_may_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "pushes.jsonl"
    files = [RecordFile(path), RecordFile(path)]
    for number in range(4):
        files[number % 2].write(record(str(number)))
        assert len(path.read_bytes().splitlines()) == number + 1
    for file in files:
        file.close()
    read = [msgspec.json.decode(line, type=SimulatedRecord) for line in path.read_bytes().splitlines()]
    assert [item.token for item in read] == ["0", "1", "2", "3"]
