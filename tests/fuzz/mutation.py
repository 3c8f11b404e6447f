"""Inputs from examples: the same sequence for the same seed, on every machine."""

import json
import random
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from tests.fuzz.target import Target

NUMBERS: Final = tuple(
    text.encode()
    for text in (
        *("0", "1", "-1", "00", "+1", "1_0", " 1", "0x10", "1.5", ".5", "5.", "1e5", "-0", "-0.0"),
        *("2147483647", "2147483648", "9007199254740993", "9223372036854775807", "9223372036854775808"),
        *("18446744073709551615", "18446744073709551616", "-9223372036854775809", "1e308", "1e309", "-1e999"),
        *(
            "nan",
            "NaN",
            "inf",
            "Infinity",
            "-Infinity",
            "1" * 400,
            "9" * 4_299,
            "9" * 4_301,
            "-" + "9" * 5_000,
        ),
        *("0x" + "f" * 3_600, "1_" * 2_000 + "1", "0" * 300 + "7", "\u0663", "\uff15", "\u00b2", "1\u0000"),
    )
)
_WORDS: Final = (
    *("", " ", "\0", "\r\n", "\n", "\t", '"', "\\", "'", "\\u0000", "\\ud800", "\\udc00", "\\ud83d\\ude00"),
    *("\u00e9", "\u2028", "\U0001f600", "\ufeff", "%", "%00", "%ff", "%C3", "%ud800", "&", "=", ";", "[]"),
    *("../", "/", "//", ":", "#", "?", "<script>", "${x}", "*", "null", "true", "false", "{}", "[", "{"),
)
TEXTS: Final = (
    *(word.encode() for word in _WORDS),
    *(b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\x80", b"\xfe\xff"),
)
VALUES: Final[tuple[Any, ...]] = (
    *(None, True, False, 0, 1, -1, 2**31 - 1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63)),
    *(0.5, -0.0, 1e308, 5e-324, "", " ", "x", "\0", "\u0663", "all", "a,b", "\U0001f600", "x" * 300, "5"),
    *("0x10", "1_0", "-1", "9" * 30, "9" * 5_000, [], {}, [[]], [None], [""], [0], {"": None}, {"a": {}}),
)
_DIGITS: Final = re.compile(rb"\d+")
_STEPS: Final = (0, 1, 1, 1, 2, 2, 3, 5, 8)
_AMPLIFIED: Final = (64, 256, 1_024, 4_096)


class Mutator:
    """Makes one target's inputs.

    Args:
        target: its examples, words and limits count.
        rng: decides everything.
    """

    def __init__(self, target: Target, rng: random.Random) -> None:
        self._target = target
        self._rng = rng
        self._repeats = True
        self._trees = [tree for seed in target.seeds for tree in _decoded(seed, target.tree)]
        self._changes: tuple[Callable[[bytes], bytes], ...] = (
            *(self._flip, self._insert, self._cut, self._double, self._splice, self._number, self._number),
            *(self._word, self._word, self._text, self._text, self._nest, self._swap, self._amplify),
        )

    def next(self) -> bytes:
        """The next input."""
        rng = self._rng
        if self._trees and rng.random() < 0.5:
            self._repeats = True
            data = _encoded(self._tree(rng.choice(self._trees), 0), self._target.tree, rng)
            steps = rng.choice((0, 0, 0, 1))
        else:
            data = rng.choice(self._target.seeds)
            steps = rng.choice(_STEPS)
        for _ in range(steps):
            data = rng.choice(self._changes)(data)
        if rng.random() < 0.02:
            data = self._grown(data, self._target.largest)
        return data[: self._target.largest]

    # -- documents -------------------------------------------------------------------------------------------

    def _tree(self, value: Any, depth: int) -> Any:
        """Return a copy of a document with some of its values and names changed."""
        rng = self._rng
        if rng.random() < 0.12:
            return self._value()
        if depth > 20:
            return value
        if isinstance(value, dict):
            return self._mapping(value, depth)
        if isinstance(value, list):
            items = [self._tree(item, depth + 1) for item in value if rng.random() > 0.05]
            if rng.random() < 0.1:
                items.insert(rng.randint(0, len(items)), self._value())
            return self._longer(items)
        return value

    def _longer(self, items: list[Any]) -> list[Any]:
        """Repeat its items, at one place of a document: lists in lists would fill the memory."""
        if not self._repeats or not items or self._rng.random() > 0.05:
            return items
        self._repeats = False
        return items * self._rng.choice((2, 50, 1_000))

    def _mapping(self, value: dict[Any, Any], depth: int) -> dict[Any, Any]:
        rng = self._rng
        found = {name: self._tree(item, depth + 1) for name, item in value.items() if rng.random() > 0.05}
        if rng.random() < 0.1:
            found[self._name()] = self._value()
        if rng.random() < 0.01:
            found |= {f"k{number}": number for number in range(rng.choice((10, 1_000)))}
        return found

    def _name(self) -> str:
        words = self._target.words or (b"k",)
        return self._rng.choice(words).decode("utf-8", "replace")

    def _value(self) -> Any:
        rng = self._rng
        if rng.random() < 0.03:
            deep: Any = 1
            for _ in range(rng.choice((10, 63, 64, 65, 200, 900))):
                deep = [deep] if rng.random() < 0.5 else {"a": deep}
            return deep
        return rng.choice(VALUES)

    # -- bytes -----------------------------------------------------------------------------------------------

    def _place(self, data: bytes) -> int:
        return self._rng.randint(0, len(data))

    def _put(self, data: bytes, piece: bytes) -> bytes:
        place = self._place(data)
        until = place if self._rng.random() < 0.5 else min(len(data), place + self._rng.randint(0, 8))
        return data[:place] + piece + data[until:]

    def _flip(self, data: bytes) -> bytes:
        if not data:
            return b"\0"
        place = self._rng.randrange(len(data))
        return data[:place] + bytes((data[place] ^ (1 << self._rng.randrange(8)),)) + data[place + 1 :]

    def _insert(self, data: bytes) -> bytes:
        return self._put(data, self._rng.randbytes(self._rng.randint(1, 8)))

    def _cut(self, data: bytes) -> bytes:
        first, last = sorted((self._place(data), self._place(data)))
        return data[:first] + data[last:] if self._rng.random() < 0.7 else data[:last]

    def _double(self, data: bytes) -> bytes:
        first, last = sorted((self._place(data), self._place(data)))
        return data[:last] + data[first:last] + data[last:]

    def _splice(self, data: bytes) -> bytes:
        other = self._rng.choice(self._target.seeds)
        return data[: self._place(data)] + other[self._place(other) :]

    def _swap(self, data: bytes) -> bytes:
        first, middle, last = sorted(self._place(data) for _ in range(3))
        return data[:first] + data[middle:last] + data[first:middle] + data[last:]

    def _number(self, data: bytes) -> bytes:
        """Another number in the place of one."""
        runs = list(_DIGITS.finditer(data[:4_096]))
        if not runs:
            return self._put(data, self._rng.choice(NUMBERS))
        run = self._rng.choice(runs)
        return data[: run.start()] + self._rng.choice(NUMBERS) + data[run.end() :]

    def _word(self, data: bytes) -> bytes:
        return self._put(data, self._rng.choice(self._target.words or TEXTS))

    def _text(self, data: bytes) -> bytes:
        return self._put(data, self._rng.choice(TEXTS))

    def _nest(self, data: bytes) -> bytes:
        first, last = sorted((self._place(data), self._place(data)))
        opening, closing = self._rng.choice(((b"[", b"]"), (b'{"a":', b"}"), (b"(", b")"), (b"- ", b"")))
        count = self._rng.choice((1, 3, 64, 1_000, 20_000))
        return data[:first] + opening * count + data[first:last] + closing * count + data[last:]

    def _amplify(self, data: bytes) -> bytes:
        return self._grown(data, self._rng.choice(_AMPLIFIED))

    def _grown(self, data: bytes, size: int) -> bytes:
        """A short piece of it, repeated up to a size: what costs its square shows."""
        rng = self._rng
        place = self._place(data)
        piece = data[place : place + rng.randint(1, 24)] or rng.choice(self._target.words or TEXTS) or b"a"
        return data[:place] + piece * (size // len(piece)) + data[place:]


def inputs(target: Target, seed: int) -> Iterator[bytes]:
    """A target's inputs, without end: its examples, then what is made of them.

    The seed alone decides them. How many a run takes depends on its time; which ones come first does not.
    """
    yield from target.seeds
    mutator = Mutator(target, random.Random(f"{seed}:{target.name}"))
    while True:
        yield mutator.next()


def _decoded(seed: bytes, tree: str) -> list[Any]:
    try:
        if tree == "json":
            return [json.loads(seed)]
        if tree == "msgpack":
            return [msgspec.msgpack.decode(seed)]
    except (ValueError, RecursionError):
        pass
    return []


def _encoded(value: Any, tree: str, rng: random.Random) -> bytes:
    try:
        if tree == "msgpack":
            return msgspec.msgpack.encode(value)
        text = json.dumps(value, ensure_ascii=rng.random() < 0.5, separators=rng.choice(((",", ":"), None)))
        return text.encode("utf-8", "replace")
    except (ValueError, OverflowError, RecursionError):
        return b"\xc0" if tree == "msgpack" else b"null"
