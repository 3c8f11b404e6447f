"""Targets with one fault each, and one without: what the harness must see."""

import ctypes
from typing import Final

from protocols.errors import MalformedBody
from tests.fuzz.target import Target, plain

_kept: Final[list[bytes]] = []
_BAD: Final = b"!"


def _crash(data: bytes) -> None:
    if _BAD in data:
        ctypes.string_at(0)


def _hang(data: bytes) -> None:
    while _BAD in data:
        pass


def _square(data: bytes) -> None:
    """Far over the limit, or far below it."""
    for _ in range(2 * len(data) ** 2 if len(data) > 1_000 else 0):
        pass


def _leak(data: bytes) -> None:
    _kept.append(bytearray(data))


def _foreign(data: bytes) -> None:
    if _BAD in data:
        raise KeyError("not of the tree")


def _sound(data: bytes) -> None:
    if _BAD in data:
        raise MalformedBody("of the tree")


_SEEDS: Final = (b"abc", b"a good one", b"with a !", b"x" * 1_500)
TARGETS: Final = (
    *(Target(step.__name__[1:], plain(step), _SEEDS) for step in (_crash, _hang, _leak, _foreign, _sound)),
    Target("square", plain(_square), _SEEDS, largest=1_500),
)
