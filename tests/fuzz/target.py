"""The interface of a fuzz target."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, NamedTuple

Step = Callable[[bytes], Any]
"""Reads one input. It may raise an error of the tree; every other exception is a failure."""
Open = Callable[[], AbstractContextManager[Step]]

BASE_S: Final = 0.02
"""CPU time that a step may take whatever its input's length: a collection of garbage may fall into it."""
BYTE_S: Final = 2e-6
"""CPU time that each byte of the input may add. Linear parsers in Python need a tenth of that."""


class Target(NamedTuple):
    """One parser, or several that read the same kind of bytes.

    Attributes:
        name: on the command line and in the report.
        open: gives the step; what the step needs is closed with it.
        seeds: examples of its input, good and bad.
        words: pieces that mutations put into an input.
        tree: "json" or "msgpack" where inputs are documents that mutations may take apart; "": bytes.
        largest: longest input, in bytes.
        base_s: CPU seconds of any step.
        byte_s: CPU seconds for each byte.
        weight: share of the time, compared with other targets: slow steps need more of it.
    """

    name: str
    open: Open
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...] = ()
    tree: str = ""
    largest: int = 65_536
    base_s: float = BASE_S
    byte_s: float = BYTE_S
    weight: float = 1.0


def plain(step: Step) -> Open:
    """A step that needs nothing around it."""

    @contextmanager
    def opened() -> Iterator[Step]:
        yield step

    return opened
