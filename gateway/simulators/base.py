"""Base class of both simulators: listening, connections, recording, and operations on all connections."""

import asyncio
import os
import ssl
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from gateway.simulators.authority import Authority
from gateway.simulators.connection import (
    AcceptAllConnection,
    ProtocolSniffer,
    SimConnection,
    SimHttp2Connection,
    SimulatedSession,
)
from gateway.simulators.recording import KEEP, RecordFile, Recording
from protocols.simulation.faults import FaultTable
from protocols.simulation.record import SimulatedAnswer, SimulatedRecord


@dataclass(frozen=True, slots=True)
class Hosting:
    """Where a simulator listens and what it records.

    Attributes:
        host: address to listen on.
        port: TCP port; 0: a free one.
        name: the host name that clients use; None: `host`, or loopback if `host` means all addresses.
        authority: the certificate authority; None: a new one. Two simulators may share one.
        accept_all: answer 200 to every request without parsing it; only the answers are counted.
        echo_ids: with `accept_all`, return apns-id, which some clients require.
        keep: number of records in memory.
        record_file: a JSON Lines file to which each record is appended.
        on_push: called with each record, before its answer is sent.
    """

    host: str = "127.0.0.1"
    port: int = 0
    name: str | None = None
    authority: Authority | None = None
    accept_all: bool = False
    echo_ids: bool = False
    keep: int = KEEP
    record_file: Path | None = None
    on_push: Callable[[SimulatedRecord], None] | None = None

    @property
    def reached_at(self) -> str:
        """The host name in the addresses that the simulator returns."""
        return self.name or {"0.0.0.0": "127.0.0.1", "::": "localhost"}.get(self.host, self.host)


class Simulator(ABC):
    """A simulated provider on a TLS port; an async context manager.

    Attributes:
        authority: its certificate authority.
        received: the recording.
        answered: requests answered in accept-all mode.
        open_connections: the open connections.
        closed: whether it refuses connections.
        held: the held answers after `hold`.
    """

    alpn: tuple[str, ...] = ("h2",)

    def __init__(self, hosting: Hosting | None) -> None:
        self.hosting = hosting or Hosting()
        self.authority = self.hosting.authority or Authority([self.hosting.reached_at])
        self.received = Recording(self.hosting.keep)
        self.answered = 0
        self.open_connections: set[SimConnection] = set()
        self.closed = False
        self.held: list[Callable[[], None]] | None = None
        self._servers: list[asyncio.Server] = []
        self._ports: list[int] = []
        self._contexts: list[ssl.SSLContext | None] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._file: RecordFile | None = None

    @property
    @abstractmethod
    def faults(self) -> FaultTable:
        """The scripted faults; they may change at any time."""

    @property
    @abstractmethod
    def streams(self) -> int:
        """SETTINGS_MAX_CONCURRENT_STREAMS in accept-all mode."""

    @abstractmethod
    def open_session(self, transport: asyncio.Transport) -> SimulatedSession:
        """Start the rules for a new connection."""

    @property
    def port(self) -> int:
        """The TLS port, once started; suspending the simulator does not change it."""
        return self._ports[0]

    @property
    def connections(self) -> list[SimHttp2Connection]:
        """The open HTTP/2 connections."""
        return [
            connection for connection in self.open_connections if isinstance(connection, SimHttp2Connection)
        ]

    @property
    def ca_pem(self) -> bytes:
        """The authority's certificate, which a client must trust."""
        return self.authority.ca_pem

    @property
    def folder(self) -> Path:
        """Folder for `ca_file` and keys, readable by its owner only; it exists as long as the simulator."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="rhopush-simulator-")
        return Path(self._folder.name)

    @property
    def ca_file(self) -> Path:
        """Write `ca_pem` to a file."""
        return self.write("ca.pem", self.ca_pem)

    def write(self, name: str, content: bytes) -> Path:
        """Write a file into `folder`, mode 600, and return its path."""
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_bytes(content)
        return path

    async def start(self) -> None:
        """Listen. Raises OSError if the address is not available."""
        if self.hosting.record_file is not None:
            self._file = RecordFile(self.hosting.record_file)
            self.received.observe(self._file.write)
        if self.hosting.on_push is not None:
            self.received.observe(self.hosting.on_push)
        await self.listen(self.hosting.port, self.authority.server_context(self.alpn))

    async def suspend(self) -> None:
        """Become unreachable: close all connections and refuse new ones, until `resume`."""
        self.closed = True
        for server in self._servers:
            server.close()
        self.cut()
        for server in self._servers:
            await server.wait_closed()
        self._servers.clear()

    async def resume(self) -> None:
        """Listen again, on the same ports. Raises OSError if a port is in use."""
        self.closed = False
        for port, context in zip(self._ports, self._contexts, strict=True):
            self._servers.append(await self._serve(port, context))

    async def close(self) -> None:
        """Stop listening, close all connections and the file, and remove the folder."""
        await self.suspend()
        if self._file is not None:
            self._file.close()
        if self._folder is not None:
            self._folder.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def hold(self) -> None:
        """Hold all answers from now on; their requests are judged and recorded immediately."""
        if self.held is None:
            self.held = []

    def release(self) -> None:
        """Send the held answers, in order, and answer immediately from now on."""
        held, self.held = self.held or [], None
        for answer in held:
            answer()

    def go_away(self, reason: str = "Shutdown") -> None:
        """Send GOAWAY on every open connection; complete requests still get their answers."""
        for connection in self.connections:
            connection.go_away(reason)

    def cut(self) -> None:
        """Abort every open connection."""
        for connection in list(self.open_connections):
            connection.cut()

    def limit_streams(self, limit: int) -> None:
        """Announce another SETTINGS_MAX_CONCURRENT_STREAMS on every open connection."""
        for connection in self.connections:
            connection.limit_streams(limit)

    def record(self, answer: SimulatedAnswer) -> None:
        """Record a request."""
        if answer.record is not None:
            self.received.append(answer.record)

    def count(self, answered: int) -> None:
        """Count requests that were answered without being parsed."""
        self.answered += answered

    def http1(self) -> Callable[[], asyncio.Protocol] | None:
        """Factory of the protocol for HTTP/1.1 clients; None: their connections are aborted."""
        return None

    async def listen(self, port: int, context: ssl.SSLContext | None) -> None:
        """Listen on another port. Raises OSError if it is not available."""
        server = await self._serve(port, context)
        self._servers.append(server)
        self._ports.append(int(server.sockets[0].getsockname()[1]))
        self._contexts.append(context)

    async def _serve(self, port: int, context: ssl.SSLContext | None) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        try:
            return await loop.create_server(self._protocol, self.hosting.host, port, ssl=context)
        except OSError as error:
            if not error.errno or error.errno < 0:  # not an error code of the operating system
                raise
            address = f"{self.hosting.host}:{port}"
            raise OSError(error.errno, os.strerror(error.errno), address) from error

    def _protocol(self) -> asyncio.Protocol:
        return ProtocolSniffer(self, self._http2, self.http1())

    def _http2(self) -> asyncio.Protocol:
        if self.hosting.accept_all:
            return AcceptAllConnection(self, self.streams, self.hosting.echo_ids)
        return SimHttp2Connection(self)
