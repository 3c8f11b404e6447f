"""An HTTP server whose responses a test writes."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ID = "0" * 32
Response = tuple[int, Any]


class ScriptedServer(ThreadingHTTPServer):
    """Gives its responses in order, the last one again and again; `requests` has method and path of each."""

    daemon_threads = True

    def __init__(self, responses: list[Response]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.responses = responses
        self.requests: list[tuple[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ScriptedServer

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append((self.command, self.path))
        responses = self.server.responses
        status, body = responses.pop(0) if len(responses) > 1 else responses[0]
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("X-Ping-Id", ID)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def serving(*responses: Response) -> Iterator[ScriptedServer]:
    """Run one as long as the block lasts."""
    with ScriptedServer(list(responses)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
