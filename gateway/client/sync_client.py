"""HTTP requests of the client with the standard library alone. The client is thread-safe."""

import io
import time
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from socket import socket
from typing import Any, Final, Literal

from gateway.client.messages import (
    RETRY_PAUSE_S,
    ClientRequest,
    ClientResponse,
    Parameters,
    accepted,
    admin_request,
    cancel_request,
    cancelled_of,
    explain_request,
    explanation_of,
    json_of,
    list_request,
    ping_request,
    polled_report_of,
    report_of,
    report_request,
    server_url,
    unfinished,
    unreachable,
)

_CONNECTIONS: Final[dict[str, type[HTTPConnection]]] = {"http": HTTPConnection, "https": HTTPSConnection}


class SyncClient:
    """Client of one gateway with one token.

    Args:
        server: the gateway's URL.
        token: the API token.
        timeout_s: longest time for one ping, including its delivery if that is waited for.
    """

    def __init__(self, server: str, token: str, timeout_s: float) -> None:
        self._url, self._token, self._timeout_s = server_url(server), token, timeout_s

    def send(self, parameters: Parameters) -> str:
        """Make a ping durable and return its id.

        Raises:
            PingError: the ping was not accepted.
        """
        return accepted(self._ask(ping_request(parameters, self._token), self._timeout_s))

    def deliver(self, parameters: Parameters) -> dict[str, Any]:
        """Send a ping, wait until every device has a verdict, and return the receipt.

        Raises:
            PingError: the ping was not accepted, or not finished in time.
        """
        until_s = time.monotonic() + self._timeout_s
        answer = self._ask(ping_request(parameters, self._token, timeout_s=self._timeout_s), self._timeout_s)
        ping_id = answer.ping_id or ""
        report = report_of(answer)
        while report is None:
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                raise unfinished(self._timeout_s, ping_id)
            time.sleep(min(RETRY_PAUSE_S, left_s))
            request = report_request(ping_id, self._token)
            report = polled_report_of(self._ask(request, max(left_s, RETRY_PAUSE_S), ping_id), ping_id)
        return report

    def pings(self, parameters: Parameters) -> dict[str, Any]:
        """Return one page of the list of pings: `pings` and `next_cursor`.

        Args:
            parameters: `state`, `limit` and `cursor`.

        Raises:
            PingError: the gateway refuses, or cannot be reached.
        """
        return json_of(self._ask(list_request(parameters, self._token), self._timeout_s))

    def report(self, ping_id: str) -> dict[str, Any]:
        """Return the receipt of a ping.

        Raises:
            PingError: the gateway does not know the ping, refuses, or cannot be reached.
        """
        return json_of(self._ask(report_request(ping_id, self._token), self._timeout_s))

    def cancel(self, ping_id: str) -> dict[str, Any]:
        """Cancel a ping, and return its `ping_id` and `state`: `open` while deliveries are in flight, then `cancelled`.

        Raises:
            PingError: the ping is unknown or finished, or the gateway refuses or cannot be reached.
        """
        return cancelled_of(self._ask(cancel_request(ping_id, self._token), self._timeout_s))

    def admin(self, method: str, path: str, parameters: Parameters) -> dict[str, Any]:
        """Call a route of operators, and return the JSON object of its response. The arguments are those of
        `admin_request`.

        Raises:
            PingError: the gateway refuses, or cannot be reached.
        """
        return json_of(self._ask(admin_request(method, path, parameters, self._token), self._timeout_s))

    def explain(self, parameters: Parameters) -> dict[str, Any]:
        """Explain a ping without sending it.

        Raises:
            PingError: the gateway refuses the request, or cannot be reached.
        """
        return explanation_of(self._ask(explain_request(parameters, self._token), self._timeout_s))

    def _ask(self, request: ClientRequest, timeout_s: float, ping_id: str | None = None) -> ClientResponse:
        """Make a request; `ping_id` is the id in the error if the gateway cannot be reached."""
        until_s = time.monotonic() + timeout_s
        connection = _CONNECTIONS[self._url.scheme](
            self._url.hostname or "", self._url.port, timeout=timeout_s
        )
        try:
            path = self._url.path.rstrip("/") + request.path
            connection.connect()
            connection.sock = _TimedSocket(connection.sock, until_s)
            connection.request(request.method, path, body=request.body, headers=request.headers)
            answer = connection.getresponse()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return ClientResponse(answer.status, headers, answer.read())
        except (OSError, HTTPException, UnicodeError) as error:  # UnicodeError: the name of the host
            raise unreachable(self._url, error, ping_id) from error
        finally:
            connection.close()


class _TimedSocket:
    """A connected socket whose operations end at one deadline together: a socket's own time limit starts again with
    each byte received. It has the methods that `http.client` calls.

    Args:
        connected: the socket.
        until_s: the deadline, in `time.monotonic`.
    """

    def __init__(self, connected: socket, until_s: float) -> None:
        self._connected, self._until_s = connected, until_s

    def sendall(self, data: bytes) -> None:
        """Send all of the bytes.

        Raises:
            OSError: the deadline is over (TimeoutError), or the connection is lost.
        """
        self.limit().sendall(data)

    def makefile(self, mode: Literal["rb"]) -> io.BufferedReader:
        """Return a reader of the received bytes; `mode`: "rb"."""
        return io.BufferedReader(_TimedReader(self, self._connected.makefile(mode, buffering=0)))

    def close(self) -> None:
        """Close the socket."""
        self._connected.close()

    def limit(self) -> socket:
        """Return the socket, the next operation of which ends at the deadline.

        Raises:
            TimeoutError: the deadline is over.
        """
        left_s = self._until_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        self._connected.settimeout(left_s)
        return self._connected


class _TimedReader(io.RawIOBase):
    """The received bytes. The socket is closed once both it and this reader are.

    Args:
        timed: the socket.
        raw: its reader without the deadline.
    """

    def __init__(self, timed: _TimedSocket, raw: io.RawIOBase) -> None:
        self._timed, self._raw = timed, raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:  # the type of a writable buffer exists from Python 3.12 on
        self._timed.limit()
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()
