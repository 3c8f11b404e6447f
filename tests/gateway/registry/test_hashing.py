"""Passwords are hashed in threads of their own."""

import asyncio
import os
import threading

import pytest

from gateway.registry.hashing import HASHES_AT_ONCE, in_hash_thread


async def test_the_number_of_concurrent_hashes_is_limited() -> None:
    begun, release = [threading.Semaphore(0), threading.Event()]
    running: list[str] = []

    def work(name: str, *, suffix: str) -> str:
        running.append(threading.current_thread().name)
        begun.release()
        assert release.wait(30)
        return name + suffix

    tasks = [asyncio.create_task(in_hash_thread(work, str(n), suffix="!")) for n in range(HASHES_AT_ONCE + 2)]
    for _ in range(HASHES_AT_ONCE):
        await asyncio.to_thread(begun.acquire)
    assert len(running) == HASHES_AT_ONCE
    release.set()
    assert await asyncio.gather(*tasks) == [f"{n}!" for n in range(HASHES_AT_ONCE + 2)]
    assert all(name.startswith("password-hash") for name in running)


async def test_an_event_loop_has_priority_over_hashes() -> None:
    def nice() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    assert await in_hash_thread(nice) > nice()


async def test_an_error_of_the_work_is_the_callers() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await in_hash_thread(fail)
