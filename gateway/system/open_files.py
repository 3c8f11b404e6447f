"""The limit of open files: each connection needs a descriptor, and shells often allow 1,024."""

import resource
from contextlib import suppress
from typing import Final

RESERVED_FILES: Final = 256
"""Open files of a process besides its HTTP connections: Redis, providers, files, refused connections."""
_CONNECTIONS_WANTED: Final = 4_096
"""Connections on each port if `limits.connections` is not set."""


def files_for(setting: int | None) -> int:
    """Number of open files that a process needs: its connections on both ports, and its own files.

    Args:
        setting: `limits.connections`.
    """
    return 2 * (setting or _CONNECTIONS_WANTED) + RESERVED_FILES


def raise_open_files_limit(wanted: int) -> None:
    """Raise the soft limit (RLIMIT_NOFILE, getrlimit(2)), which needs no privilege; never lower it.

    Child processes inherit the limit.

    Args:
        wanted: open files of one process. If the hard limit is lower, the soft limit is raised to it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        # a system may have another, lower bound, and then the soft limit stays
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
