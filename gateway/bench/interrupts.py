"""Handling of Ctrl-C, SIGTERM and SIGHUP during a run."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_INTERRUPTING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Treat SIGTERM and SIGHUP like Ctrl-C: otherwise the gateway, Redis and the folder would remain.

    If they are ignored, as nohup does with SIGHUP, they stay ignored.
    """
    ours = [number for number in _INTERRUPTING if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Delay interrupts until the block ends, since no object owns a process that is being started.

    Raises:
        KeyboardInterrupt: there was one.
    """
    heard: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        heard.append(number)

    ours = [number for number in _INTERRUPTING if signal.getsignal(number) is signal.default_int_handler]
    for number in ours:
        signal.signal(number, note)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.default_int_handler)
    if heard:
        raise KeyboardInterrupt
