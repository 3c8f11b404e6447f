"""When the cycle collector works in full."""

import gc
import subprocess
import sys

import pytest

from gateway.server.gc_policy import BUSY_S, QUIET_S, FullCollections, paused_collections


@pytest.mark.parametrize(("quiet", "after_s"), [(True, QUIET_S), (False, BUSY_S)])
def test_a_full_collection_is_due_after_its_time(quiet: bool, after_s: float) -> None:
    collections = FullCollections(1000.0)
    assert not collections.due(1000.0 + after_s - 0.1, quiet=quiet)
    assert collections.due(1000.0 + after_s, quiet=quiet)
    assert not collections.due(1000.0 + after_s + 0.1, quiet=quiet)
    assert collections.due(1000.0 + 2 * after_s, quiet=quiet)


def test_an_idle_moment_after_a_busy_minute_is_used_immediately() -> None:
    collections = FullCollections(0.0)
    assert not collections.due(QUIET_S + 5, quiet=False)
    assert collections.due(QUIET_S + 6, quiet=True)


def test_the_limited_collector_never_runs_a_full_collection_by_itself() -> None:
    # In a process of its own, since it changes how this one collects.
    script = """
import gc
from gateway.server import gc_policy
gc_policy.YOUNG_OBJECTS = 100
gc_policy.limit_collections()
begun = gc.get_stats()
kept = [[] for _ in range(200_000)]
print(*(now["collections"] - then["collections"] for now, then in zip(gc.get_stats(), begun)))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, timeout=60, capture_output=True, text=True
    )
    young, middle, full = map(int, done.stdout.split())
    assert young > 0
    assert middle > 0
    assert full == 0, "a full collection began by itself"


def test_the_objects_of_imported_modules_are_never_collected() -> None:
    # In a process of its own, since it changes what this one collects.
    script = """
import gc
from gateway.server.gc_policy import exempt_modules
gc.collect()
exempt_modules()
assert gc.get_count()[0] < 100 and gc.get_freeze_count() > 1_000
kept = []
kept.append(kept)
del kept
assert gc.collect() == 1, "later objects are collected"
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_collections_are_paused_and_go_on_also_after_an_error() -> None:
    with pytest.raises(ImportError), paused_collections():
        begun = gc.get_stats()[0]["collections"]
        kept = [[] for _ in range(100_000)]
        assert (len(kept), gc.get_stats()[0]["collections"]) == (100_000, begun)
        raise ImportError
    assert gc.isenabled()
    gc.disable()
    try:
        with paused_collections():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
