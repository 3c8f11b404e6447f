"""The start of a worker process: `python -m gateway.server.worker_start`.

It imports `gateway.server.process`, and thereby most modules of a worker, without collections and without packages
that the gateway does not use. Therefore this module itself imports little.
"""

import ctypes
import importlib
import signal
import sys
from typing import Final

from gateway.server.gc_policy import paused_collections
from gateway.system.unused_packages import unused_packages_hidden

_PR_SET_PDEATHSIG: Final = 1


def main() -> int:
    """Run the worker that standard input configures; returns the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor handles Ctrl-C
    _request_parent_death_signal()
    with paused_collections(), unused_packages_hidden():
        process = importlib.import_module("gateway.server.process")
    status: int = process.run_worker()
    return status


def _request_parent_death_signal() -> None:
    """Have Linux kill this process when the supervisor ends: a stopped process cannot detect the end of a pipe.

    prctl(2), PR_SET_PDEATHSIG. On other systems, and if the supervisor ended before this call, the pipe serves the
    purpose.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
