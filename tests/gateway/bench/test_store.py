"""Waits of a measurement."""

import os
import signal
from pathlib import Path

import pytest

from gateway.bench.child import Child
from gateway.bench.errors import CannotMeasure
from gateway.bench.store import Store
from gateway.store import keys


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "data").mkdir(mode=0o700)
    return Store(tmp_path / "data", None)


def test_chunks_and_scheduled_deliveries_are_awaited_like_pings(store: Store) -> None:
    with store:
        assert store.pending() == 0
        store.client.hset(keys.STATS, "pings", 2)
        assert store.pending() == 2
        for stream in (keys.BROADCASTS, keys.CHUNKS, keys.RETRIES):
            store.client.xadd(stream, {"e": b""})
        store.client.zadd(keys.SCHEDULE, {"name": 1})
        assert store.pending() == 6


def test_errors_of_the_server_are_reported(store: Store) -> None:
    with pytest.raises(CannotMeasure, match="Redis failed: WRONGTYPE"), store:
        store.client.set("text", "a")
        store.client.hget("text", "field")


def test_without_running_processes_no_verdicts_are_awaited(store: Store, tmp_path: Path) -> None:
    with store, Child("provider", tmp_path) as provider:
        store.needs.append(provider.check)
        store.client.hset(keys.STATS, "pings", 1)
        os.kill(provider.pid, signal.SIGKILL)
        with pytest.raises(CannotMeasure, match="the provider process ended with -9"):
            store.emptied(silent_s=5.0)


def test_a_rewrite_of_earlier_data_ends_before_the_measurement(store: Store) -> None:
    with store:
        store.client.set("user", "bob")
        before = store.client.info("persistence")["aof_rewrites"]
        store.rewritten()
        after = store.client.info("persistence")
        assert (after["aof_rewrites"], after["aof_rewrite_in_progress"]) == (before + 1, 0)


def test_a_rewrite_without_an_end_is_reported(store: Store) -> None:
    with store, pytest.raises(CannotMeasure, match="did not rewrite its append-only file within 0 s"):
        store.rewritten(within_s=0.0)


def test_a_server_without_an_append_only_file_has_nothing_to_rewrite(store: Store) -> None:
    with store:
        store.client.config_set("appendonly", "no")
        before = store.client.info("persistence")["aof_rewrites"]
        store.rewritten()
        assert store.client.info("persistence")["aof_rewrites"] == before
