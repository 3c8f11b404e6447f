"""Delivery of messages to an HTTP server: signed, without redirects, and with bounds on time and response."""

import asyncio
import contextlib
import ssl
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from gateway import __version__
from gateway.clock import SHARED_CLOCK
from gateway.settings import WebhookSettings
from gateway.system.network_errors import describe
from gateway.transport.tls import client_context
from protocols.webhooks import signature
from protocols.webhooks.attempts import DeliveryAttempt, failed, judge
from protocols.webhooks.events import Message

ATTEMPT_S: Final = 15.0
"""Longest time of one attempt: the specification recommends 15 to 30 s for the receiver's answer."""
_CONNECT_S: Final = 5.0
_READ_BYTES: Final = 65_536
"""Most bytes of a response that are read, so that its connection can be reused; a longer response closes the
connection."""
_READ_S: Final = 1.0
"""Longest wait for the body of a response, whose status alone counts."""
_READ_HEADERS: Final = ("retry-after", "date")
_TIMEOUT: Final = aiohttp.ClientTimeout(total=ATTEMPT_S, connect=_CONNECT_S)


class HttpSink:
    """An HTTP server.

    Args:
        settings: the endpoint.

    Raises:
        CredentialError: the file of certificate authorities cannot be read.
    """

    def __init__(self, settings: WebhookSettings) -> None:
        self._url = settings.target.address
        self._keys = [signature.key_of(secret.reveal()) for secret in settings.secret]
        self._context: ssl.SSLContext | None = None
        if urlsplit(self._url).scheme == "https":
            self._context = client_context(ca_file=settings.ca_file)
            self._context.set_alpn_protocols(["http/1.1"])
        self._session: aiohttp.ClientSession | None = None

    async def send(self, message: Message) -> DeliveryAttempt:
        """Post a message once."""
        body = message.body()
        headers = {
            "content-type": "application/json",
            "user-agent": f"rhopush/{__version__}",
            **signature.headers(self._keys, message.id, int(SHARED_CLOCK.now_s()), body),
        }
        try:
            async with self._opened().post(
                self._url, data=body, headers=headers, allow_redirects=False
            ) as response:
                await _read_body(response)
                answered = [
                    (name.encode(), value.encode("utf-8", "surrogateescape"))
                    for name in _READ_HEADERS
                    if (value := response.headers.get(name)) is not None
                ]
                return judge(response.status, answered, SHARED_CLOCK.now_s())
        except aiohttp.ConnectionTimeoutError:
            return failed(f"no connection within {_CONNECT_S:g} s")
        except TimeoutError:
            return failed(f"no complete answer within {ATTEMPT_S:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return failed(describe(error))

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            await asyncio.sleep(0)  # aiohttp closes TLS connections in the next iteration of the event loop

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=2, ssl=self._context or True),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=_TIMEOUT,
                auto_decompress=False,
                trust_env=False,
            )
        return self._session


async def _read_body(response: aiohttp.ClientResponse) -> None:
    """Read the body, so that the connection can be reused. A body that is late or damaged does not change the outcome:
    the receiver has answered."""
    with contextlib.suppress(TimeoutError, aiohttp.ClientError, OSError, ValueError):
        async with asyncio.timeout(_READ_S):
            left = _READ_BYTES
            while left > 0 and (part := await response.content.read(left)):
                left -= len(part)
