"""Sleep for a process without an event loop: the supervisor, which imports no large module."""

import select


def pause(seconds: float) -> None:
    """Block the thread.

    `time.sleep` raises OSError where the wall clock is set by libfaketime 0.9.10, which refuses to wait until an
    instant of the monotonic clock.
    """
    select.select((), (), (), seconds)
