"""The processes of a measurement. Each module is run as `python -m gateway.bench.roles.NAME`.

A role reads orders, one JSON line each, from standard input, and answers each on standard output: any number of
`{"progress": 0..1}` lines, then one `{"result": ...}`. It ends with the end of its input, and therefore with the
orchestrator.
"""

import asyncio
import sys
from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec

Order = TypeVar("Order")


def orders(kind: type[Order]) -> Iterator[Order]:
    """Iterate over the orders as they arrive."""
    for line in sys.stdin.buffer:
        yield msgspec.json.decode(line, type=kind)


async def order_lines() -> asyncio.StreamReader:
    """The orders as lines, for a role with an event loop."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


def progress(fraction: float) -> None:
    """Report the fraction of the order that is done."""
    _send({"progress": round(fraction, 3)})


def result(value: Any) -> None:
    """Report the result of the order."""
    _send({"result": value})


def _send(words: dict[str, Any]) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(words) + b"\n")
    sys.stdout.buffer.flush()
