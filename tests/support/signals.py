"""Signal dispositions: a test run inherits those of its parent, such as SIGHUP ignored by nohup."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
AS_FROM_A_TERMINAL: Final = (
    "import signal\n"
    "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "for number in (signal.SIGTERM, signal.SIGHUP): signal.signal(number, signal.SIG_DFL)\n"
)
"""The first lines of a Python program that must run as if it were started in a terminal.

A shell ignores SIGINT for a program in the background, nohup SIGHUP, and both are inherited.
"""


@contextmanager
def dispositions(disposition: signal.Handlers) -> Iterator[None]:
    """Set this disposition for all terminating signals in the test's own process."""
    before = {number: signal.signal(number, disposition) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
