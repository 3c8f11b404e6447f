"""What both simulators share: listening, the connections, the recording, and what is done to all of them."""

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
    """Where a simulator listens and what it keeps.

    Attributes:
        host: address to listen on.
        port: 0 takes a free one.
        name: what clients call `host`; None: the same, or loopback where it means all addresses.
        authority: the certificate authority; None: one of its own. Two simulators may share one.
        accept_all: answer 200 to everything, unread; only the answers are counted.
        echo_ids: with `accept_all`, give apns-id back, which some clients wait for.
        keep: how many records are kept in memory.
        record_file: a JSON Lines file to append each record to.
        on_push: called with each record, before its answer goes out.
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
        """The host name in addresses that are given out."""
        return self.name or {"0.0.0.0": "127.0.0.1", "::": "localhost"}.get(self.host, self.host)


class Simulator(ABC):
    """A simulated provider on a TLS port; an async context manager.

    Attributes:
        authority: its certificate authority.
        received: the recording.
        answered: requests answered in accept-all mode.
        open_connections: the open connections.
        closed: it takes no connections.
        held: the answers kept back, where `hold` was called.
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
        """SETTINGS_MAX_CONCURRENT_STREAMS of accept-all mode."""

    @abstractmethod
    def open_session(self, transport: asyncio.Transport) -> SimulatedSession:
        """The rules for a new connection."""

    @property
    def port(self) -> int:
        """The TLS port, once started; it stays the same when the simulator is suspended."""
        return self._ports[0]

    @property
    def connections(self) -> list[SimHttp2Connection]:
        """The open connections that speak HTTP/2."""
        return [
            connection for connection in self.open_connections if isinstance(connection, SimHttp2Connection)
        ]

    @property
    def ca_pem(self) -> bytes:
        """The authority's certificate: what a client must trust."""
        return self.authority.ca_pem

    @property
    def folder(self) -> Path:
        """A folder for the simulator's life, readable by its owner only: where `ca_file` and keys are."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="rhopush-simulator-")
        return Path(self._folder.name)

    @property
    def ca_file(self) -> Path:
        """`ca_pem` as a file."""
        return self.write("ca.pem", self.ca_pem)

    def write(self, name: str, content: bytes) -> Path:
        """Write a file into `folder`, mode 600, and give its path."""
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_bytes(content)
        return path

    async def start(self) -> None:
        """Listen. Raises OSError where the address cannot be had."""
        if self.hosting.record_file is not None:
            self._file = RecordFile(self.hosting.record_file)
            self.received.observe(self._file.write)
        if self.hosting.on_push is not None:
            self.received.observe(self.hosting.on_push)
        await self.listen(self.hosting.port, self.authority.server_context(self.alpn))

    async def suspend(self) -> None:
        """Be unreachable: cut all connections and refuse new ones, until `resume`."""
        self.closed = True
        for server in self._servers:
            server.close()
        self.cut()
        for server in self._servers:
            await server.wait_closed()
        self._servers.clear()

    async def resume(self) -> None:
        """Listen again, on the same ports. Raises OSError where another has taken one."""
        self.closed = False
        for port, context in zip(self._ports, self._contexts, strict=True):
            self._servers.append(await self._serve(port, context))

    async def close(self) -> None:
        """Stop listening, cut all connections, close the file, remove the folder."""
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
        """Keep all answers back from now on; their requests are judged and recorded at once."""
        if self.held is None:
            self.held = []

    def release(self) -> None:
        """Give the answers that were kept back, in order, and answer at once from now on."""
        held, self.held = self.held or [], None
        for answer in held:
            answer()

    def go_away(self, reason: str = "Shutdown") -> None:
        """Send GOAWAY on every open connection; requests that are complete still get their answers."""
        for connection in self.connections:
            connection.go_away(reason)

    def cut(self) -> None:
        """End every open connection without a word."""
        for connection in list(self.open_connections):
            connection.cut()

    def limit_streams(self, limit: int) -> None:
        """Announce another SETTINGS_MAX_CONCURRENT_STREAMS on every open connection."""
        for connection in self.connections:
            connection.limit_streams(limit)

    def record(self, answer: SimulatedAnswer) -> None:
        """Write a request down."""
        if answer.record is not None:
            self.received.append(answer.record)

    def count(self, answered: int) -> None:
        """Count requests that were answered unread."""
        self.answered += answered

    def http1(self) -> Callable[[], asyncio.Protocol] | None:
        """What makes a protocol for clients that speak HTTP/1.1; None: they are cut."""
        return None

    async def listen(self, port: int, context: ssl.SSLContext | None) -> None:
        """Listen on one more port. Raises OSError where it cannot be had."""
        server = await self._serve(port, context)
        self._servers.append(server)
        self._ports.append(int(server.sockets[0].getsockname()[1]))
        self._contexts.append(context)

    async def _serve(self, port: int, context: ssl.SSLContext | None) -> asyncio.Server:
        loop = asyncio.get_running_loop()
        try:
            return await loop.create_server(self._protocol, self.hosting.host, port, ssl=context)
        except OSError as error:
            if not error.errno or error.errno < 0:  # not the operating system's
                raise
            address = f"{self.hosting.host}:{port}"
            raise OSError(error.errno, os.strerror(error.errno), address) from error

    def _protocol(self) -> asyncio.Protocol:
        return ProtocolSniffer(self, self._http2, self.http1())

    def _http2(self) -> asyncio.Protocol:
        if self.hosting.accept_all:
            return AcceptAllConnection(self, self.streams, self.hosting.echo_ids)
        return SimHttp2Connection(self)
