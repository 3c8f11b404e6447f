"""Requests to a collector of traces: OTLP over HTTP with protobuf (OTLP specification 1.x, section "OTLP/HTTP").

The variables of the environment that OpenTelemetry defines for its exporters hold the headers, for example of a hosted
collector, and the file of the certificates that are trusted (OpenTelemetry Protocol Exporter, "Configuration
Options").
"""

import importlib
import os
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from gateway.system.network_errors import describe

TIMEOUT_S: Final = 5.0
"""Time limit of the connect, and of each wait for bytes of the response."""
AFTER_MAX_S: Final = 60.0
"""Longest `Retry-After` that is obeyed."""
_AGAIN: Final = frozenset({429, 502, 503, 504})
"""Statuses after which the same request is repeated (OTLP/HTTP, "Retryable Response Codes")."""
_HEADERS: Final = ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")
_CERTIFICATE: Final = ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE")
_CONTENT: Final = {"Content-Type": "application/x-protobuf", "User-Agent": "rhopush"}


class Failure(NamedTuple):
    """The collector did not accept a request.

    Attributes:
        reason: why, in words.
        again: whether the same request may succeed later.
        after_s: how long the collector asks to wait; 0: it does not say.
    """

    reason: str
    again: bool
    after_s: float = 0.0


class Collector:
    """Posts requests, one at a time, over a connection that is kept.

    Args:
        url: the complete URL.
        environ: variables of the environment.
    """

    def __init__(self, url: str, environ: Mapping[str, str] = os.environ) -> None:
        http = importlib.import_module("urllib3")
        parse_headers = importlib.import_module("opentelemetry.util.re").parse_env_headers
        self._error: type[Exception] = http.exceptions.HTTPError
        self._url = url
        self._headers = {**_CONTENT, **parse_headers(_first(environ, _HEADERS), liberal=True)}
        self._pool: Any = http.PoolManager(
            num_pools=1,
            ca_certs=_first(environ, _CERTIFICATE) or None,
            timeout=http.Timeout(TIMEOUT_S),
            retries=False,
        )

    def post(self, body: bytes) -> Failure | None:
        """Post one request; None: the collector has accepted it."""
        try:
            response = self._pool.request("POST", self._url, body=body, headers=self._headers, redirect=False)
        except (self._error, OSError) as error:
            return Failure(describe(error), again=True)
        except ValueError as error:  # a header that cannot be sent
            return Failure(f"{_HEADERS[0]} or {_HEADERS[1]} is invalid: {type(error).__name__}", again=False)
        status: int = response.status
        if status in range(200, 300):
            return None
        after_s = _seconds(response.headers.get("Retry-After", ""))
        return Failure(f"the collector answered with HTTP status {status}", status in _AGAIN, after_s)

    def close(self) -> None:
        """Close the connection."""
        self._pool.clear()


def _first(environ: Mapping[str, str], names: tuple[str, ...]) -> str:
    """Return the first variable that is set."""
    return next((environ[name] for name in names if environ.get(name)), "")


def _seconds(text: str) -> float:
    """Return the seconds of a Retry-After, or 0 if it has no such number: a date is not obeyed."""
    return min(float(text), AFTER_MAX_S) if text.isdecimal() else 0.0
