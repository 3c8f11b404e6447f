"""The limit of open files: each connection needs a descriptor, and shells often allow 1,024."""

import resource
from contextlib import suppress
from typing import Final

RESERVED_FILES: Final = 256
"""Open files of a process besides HTTP connections: Redis, providers, files, connections that are refused."""
_CONNECTIONS_WANTED: Final = 4_096
"""On each port, where `limits.connections` is not set."""


def files_for(setting: int | None) -> int:
    """How many open files a process wants: for as many connections on each of both ports, and for itself.

    Args:
        setting: `limits.connections`.
    """
    return 2 * (setting or _CONNECTIONS_WANTED) + RESERVED_FILES


def raise_open_files_limit(wanted: int) -> None:
    """Raise the soft limit (RLIMIT_NOFILE, getrlimit(2)), which needs no privilege; never lower it.

    Child processes inherit the limit.

    Args:
        wanted: open files of one process. The hard limit may be lower; then that is the limit.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        with suppress(OSError, ValueError):  # a system may have another, lower bound: the soft limit stays
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
