"""HTTP client of the attacker: raw sockets, so that it can send invalid requests."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, NamedTuple

from gateway.bench.attacks.attack import NO_ANSWER, AttackTarget

PING: Final = "/rc/v1/users/ping"
PATIENCE_S: Final = 60.0
"""Time after which a response counts as missing."""
_PIECE_BYTES: Final = 1 << 20
_HEAD_END: Final = b"\r\n\r\n"
_RESET: Final = struct.pack("ii", 1, 0)  # socket(7), SO_LINGER


class AttackResponse(NamedTuple):
    """A response; its status is `NO_ANSWER` if the connection ended instead."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """The code of an error; "" without one."""
        with suppress(ValueError, KeyError, TypeError):
            return str(json.loads(self.body)["error"]["code"])
        return ""

    @property
    def cookie(self) -> str:
        """The cookie that it sets, in the form in which a request returns it."""
        return self.headers.get("set-cookie", "").partition(";")[0]


_NONE: Final = AttackResponse(NO_ANSWER, {}, b"")


def head(path: str, method: str = "POST", **headers: str | int) -> bytes:
    """The head of a request; the names of headers are written with `_` for `-`."""
    lines = [f"{method} {path} HTTP/1.1", "Host: gateway"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def request(path: str, body: bytes | Mapping[str, Any] = b"", method: str = "POST", **headers: str) -> bytes:
    """A complete request; a mapping becomes JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    given: dict[str, str | int] = {"Content_Type": "application/json", "Content_Length": len(data), **headers}
    return head(path, method, **given) + data


def with_token(target: AttackTarget) -> dict[str, str]:
    """The header of a caller with a valid token."""
    return {"X_RhoConnect_API_TOKEN": target.token}


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to 127.0.0.1 that is reset at the end: after a FIN the gateway would still have to answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def read_answer(reader: asyncio.StreamReader) -> AttackResponse:
    """The next response on a connection; interim responses (1xx) are skipped."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                lines = (await reader.readuntil(_HEAD_END)).decode("latin-1").split("\r\n")
                status = int(lines[0].split()[1])
                headers = {
                    name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:-2])
                }
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                if status >= 200:
                    return AttackResponse(status, headers, body)
    except (OSError, EOFError, TimeoutError):
        return _NONE


async def exchange(port: int, data: bytes) -> AttackResponse:
    """Send one request on a connection of its own, completely before the response is read, as Java's client does."""
    try:
        async with connected(port) as (reader, writer):
            with suppress(OSError):
                await send(writer, data)
            return await read_answer(reader)
    except OSError:
        return _NONE


async def send(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Write in parts, so that no copy of the whole is held in memory.

    Raises:
        OSError: the gateway closed the connection, or stopped reading.
    """
    view = memoryview(data)
    async with asyncio.timeout(PATIENCE_S):
        for first in range(0, len(view), _PIECE_BYTES):
            if writer.is_closing():
                raise ConnectionResetError("the gateway closed the connection")
            writer.write(view[first : first + _PIECE_BYTES])
            await writer.drain()


async def at_once(port: int, requests: Iterable[bytes]) -> list[AttackResponse]:
    """Send all requests at the same time, each on a connection of its own."""
    return await asyncio.gather(*(exchange(port, data) for data in requests))


async def pipelined(
    port: int, requests: Sequence[bytes], connections: int, answers: list[AttackResponse] | None = None
) -> list[AttackResponse]:
    """Send all requests at the same time, pipelined on a number of connections.

    Args:
        port: port of the gateway.
        requests: the n-th is sent on connection n modulo `connections`.
        connections: number of connections.
        answers: list to which the responses are appended as they arrive, and which is returned; None: a new list.
    """
    came: list[AttackResponse] = [] if answers is None else answers
    shares = [requests[number::connections] for number in range(connections)]
    await asyncio.gather(*(_one_after_the_other(port, share, came) for share in shares if share))
    return came


async def _one_after_the_other(port: int, requests: Sequence[bytes], came: list[AttackResponse]) -> None:
    async with connected(port) as (reader, writer):
        writing = asyncio.create_task(send(writer, b"".join(requests)))
        try:
            for _ in requests:
                answer = await read_answer(reader)
                came.append(answer)
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
