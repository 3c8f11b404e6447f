"""The load generator of bulk requests: newline-delimited JSON, a ping a line, over some connections.

Requests of a bounded number of lines are sent whole, one after the other on each connection. One endless request is
sent as its connection takes it, while its answers are read.
"""

import asyncio
import time
from typing import Final

import msgspec
import uvloop

from gateway.bench.roles import orders, progress, result
from gateway.bench.roles.load import STRIDE

_PIECE_LINES: Final = 1_000
_PROGRESS_S: Final = 0.1
_LINE: Final = (
    '{"user_id":["u%07d"],"sources":"Product","message":"Order %07d is on its way","vibrate":2000,'
    '"sound":"hello.mp3","idempotency_key":"%s-%07d"}\n'
)
_HEAD: Final = (
    "POST /rc/v1/pings HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-ndjson\r\n"
    "X-RhoConnect-API-TOKEN: {token}\r\nTransfer-Encoding: chunked\r\n\r\n"
)
_END: Final = b"0\r\n\r\n"


class BulkOrder(msgspec.Struct):
    """One run.

    Attributes:
        port: on 127.0.0.1.
        token: the API token.
        run: part of each idempotency key; another one for each run.
        pings: how many.
        users: how many users there are.
        connections: how many are open.
        lines: pings of a request; 0: one request has all pings of a connection.
    """

    port: int
    token: str
    run: str
    pings: int
    users: int
    connections: int
    lines: int


class BulkLoadResult(msgspec.Struct):
    """The result of one run.

    Attributes:
        accepted: lines that were answered with a ping's id.
        refused: lines with an error.
        seconds: from the first line to the last answer.
        first_s: of each request, seconds from its first byte to the first byte of its answer.
        left: of each request, its share of pings that was not sent when its answer began.
    """

    accepted: int
    refused: int
    seconds: float
    first_s: list[float]
    left: list[float]


class _Run:
    def __init__(self, order: BulkOrder) -> None:
        self._order = order
        self._head = _HEAD.format(token=order.token).encode()
        self._answers = 0
        self._next = 0
        self._told_s = 0.0
        self._done = BulkLoadResult(0, 0, 0.0, [], [])

    async def run(self) -> BulkLoadResult:
        order, begun = self._order, time.perf_counter()
        await asyncio.gather(*(self._connection() for _ in range(order.connections)))
        self._done.seconds = time.perf_counter() - begun
        return self._done

    async def _connection(self) -> None:
        order = self._order
        lines = order.lines or -(-order.pings // order.connections)
        reader, writer = await asyncio.open_connection("127.0.0.1", order.port)
        while self._next < order.pings:
            first, self._next = self._next, min(self._next + lines, order.pings)
            await self._request(reader, writer, first, self._next)
        writer.close()

    async def _request(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first: int, end: int
    ) -> None:
        writer.write(self._head)
        begun, sent = time.perf_counter(), first

        async def send() -> None:
            nonlocal sent
            while sent < end:
                until = min(sent + _PIECE_LINES, end)
                data = "".join(map(self._line, range(sent, until))).encode()
                writer.write(b"%x\r\n%b\r\n" % (len(data), data))
                sent = until
                await writer.drain()
            writer.write(_END)

        sending = asyncio.create_task(send())
        head = await reader.readuntil(b"\r\n\r\n")
        self._done.first_s.append(time.perf_counter() - begun)
        self._done.left.append((end - sent) / (end - first))
        if not head.startswith(b"HTTP/1.1 200 "):
            raise ConnectionError(f"the gateway answered {head[:100]!r}")
        await self._read(reader)
        await sending

    async def _read(self, reader: asyncio.StreamReader) -> None:
        """Read chunks to the end of an answer."""
        done = self._done
        while size := int(await reader.readuntil(b"\r\n"), 16):
            data = await reader.readexactly(size + 2)
            done.accepted += data.count(b'{"ping_id"')
            done.refused += data.count(b'{"error"')
            now = time.perf_counter()
            if now - self._told_s > _PROGRESS_S:
                self._told_s = now
                progress(done.accepted / self._order.pings)
        await reader.readexactly(2)

    def _line(self, number: int) -> str:
        order = self._order
        return _LINE % (number * STRIDE % order.users, number, order.run, number)


def main() -> None:
    """Do what is ordered until there are no more orders."""
    for order in orders(BulkOrder):
        result(uvloop.run(_Run(order).run()))


if __name__ == "__main__":
    main()
