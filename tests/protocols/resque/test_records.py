import json

import pytest

from protocols.resque.records import (
    failure,
    heartbeat,
    host_part,
    is_pattern,
    queues_of,
    started,
    worker_id,
    working,
)

NOON_S = 1_795_608_000.5  # 2026-11-25 12:00:00.5 UTC


@pytest.mark.parametrize(
    ("wanted", "queues"),
    [
        (["ping"], ["ping"]),
        (["b", "a"], ["b", "a"]),
        (["*"], ["bulk_data", "low_a", "low_b", "ping"]),
        (["ping", "*"], ["ping", "bulk_data", "low_a", "low_b"]),
        (["low_*"], ["low_a", "low_b"]),
        (["*", "!low_*", "!ping"], ["bulk_data"]),
        (["unheard"], ["unheard"]),
        (["ping", "!ping"], []),
    ],
)
def test_queues_are_chosen_in_order_by_resques_syntax(wanted: list[str], queues: list[str]) -> None:
    assert queues_of(wanted, ["ping", "low_b", "low_a", "bulk_data"]) == queues


def test_what_is_a_pattern() -> None:
    assert [is_pattern(name) for name in ("ping", "*", "low_*", "!ping")] == [False, True, True, True]


def test_an_id_has_three_parts() -> None:
    host = host_part("my:host é", "0123456789abcdef")
    assert host == "rhopush-my-host--01234567"
    assert worker_id(host, 7, ["ping", "low_*"]) == "rhopush-my-host--01234567:7:ping,low_*"


def test_times_as_ruby_writes_them() -> None:
    assert started(NOON_S) == "2026-11-25 12:00:00 +0000"
    assert heartbeat(NOON_S) == "2026-11-25T12:00:00+00:00"
    assert json.loads(working("ping", {"class": "PingJob"}, NOON_S)) == {
        "queue": "ping",
        "run_at": "2026-11-25T12:00:00Z",
        "payload": {"class": "PingJob"},
    }


def test_a_failure_has_all_that_the_page_reads() -> None:
    assert json.loads(
        failure({"class": "c", "args": []}, "InvalidField", "badge: bad", "h:1:q", "q", NOON_S)
    ) == {
        "failed_at": "2026/11/25 12:00:00 UTC",
        "payload": {"class": "c", "args": []},
        "exception": "InvalidField",
        "error": "badge: bad",
        "backtrace": [],
        "worker": "h:1:q",
        "queue": "q",
    }
