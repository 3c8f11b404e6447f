"""The limit of open files: each connection needs a descriptor, and shells often allow 1,024."""

import resource
from contextlib import suppress


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
