"""Ctrl-C and its like: when they may end a run."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_INTERRUPTING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """SIGTERM and SIGHUP end a run as Ctrl-C does: its gateway, Redis and folder would stay behind.

    Where they are ignored, as SIGHUP is by nohup, they stay so.
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
    """Interrupts wait until this is left: a process that is being started is in nobody's hands yet.

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
