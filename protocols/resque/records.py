"""Records that a worker writes about itself, in the formats that Resque and its web page read.

Sources: resque 2.7 `lib/resque/{worker,data_store,failure/redis}.rb` and its server's views. The page splits a
worker's id at colons, parses each failure's `failed_at`, and needs a list as its backtrace.
"""

import fnmatch
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

HEARTBEAT_S: Final = 60.0
"""Resque's own interval."""
PAYLOAD_BYTES_MAX: Final = 65_536
"""A larger job is not copied into the worker's state."""

_NO_HOST: Final = re.compile(r"[^0-9A-Za-z_.-]+")
_encode: Final = msgspec.json.Encoder().encode


def host_part(name: str, gateway_id: str) -> str:
    """The host part of the ids of the gateway's workers.

    It is not the name of a host: a Resque worker unregisters workers with its own host name and a process id that is
    not one of Resque's processes.
    """
    return f"rhopush-{_NO_HOST.sub('-', name)}-{_NO_HOST.sub('-', gateway_id)[:8]}"


def worker_id(host: str, pid: int, queues: Sequence[str]) -> str:
    """`HOST:PID:QUEUE,QUEUE`."""
    return f"{host}:{pid}:{','.join(queues)}"


def is_pattern(queue: str) -> bool:
    """Whether a queue's name is a pattern (`*`, `low_*`, `!mail`)."""
    return queue.startswith("!") or "*" in queue


def queues_of(wanted: Sequence[str], existing: Sequence[str]) -> list[str]:
    """The queues to process, in order: as listed, those of a pattern in alphabetical order, without `!` ones.

    Args:
        wanted: `resque.queues`.
        existing: the names of Resque's queues.
    """
    refused = [name[1:] for name in wanted if name.startswith("!")]
    found: dict[str, None] = {}
    for name in wanted:
        if name.startswith("!"):
            continue
        names = fnmatch.filter(sorted(existing), name) if "*" in name else [name]
        found |= dict.fromkeys(names)
    return [name for name in found if not any(fnmatch.fnmatchcase(name, glob) for glob in refused)]


def started(at_s: float) -> str:
    """Ruby's `Time#to_s`: `2026-11-24 15:00:00 +0000`."""
    return f"{_utc(at_s):%Y-%m-%d %H:%M:%S} +0000"


def heartbeat(at_s: float) -> str:
    """ISO 8601: `2026-11-24T15:00:00+00:00`."""
    return f"{_utc(at_s):%Y-%m-%dT%H:%M:%S}+00:00"


def working(queue: str, payload: dict[str, Any], at_s: float) -> bytes:
    """The state of a busy worker."""
    return _encode({"queue": queue, "run_at": f"{_utc(at_s):%Y-%m-%dT%H:%M:%SZ}", "payload": payload})


def failure(
    payload: dict[str, Any], exception: str, error: str, worker: str, queue: str, at_s: float
) -> bytes:
    """A record of the failed list.

    Args:
        payload: the job (`job.shown`).
        exception: a class name.
        error: the problem, as a readable text.
        worker: the worker's id.
        queue: the queue of the job.
        at_s: epoch seconds.
    """
    return _encode(
        {
            "failed_at": f"{_utc(at_s):%Y/%m/%d %H:%M:%S} UTC",
            "payload": payload,
            "exception": exception,
            "error": error,
            "backtrace": [],
            "worker": worker,
            "queue": queue,
        }
    )


def _utc(at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)
