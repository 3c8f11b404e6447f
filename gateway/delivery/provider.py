"""The part of a provider that lanes use: composing messages, judging responses, and delays of retries.
`gateway.delivery.providers.base` has everything else that the gateway asks of a provider."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Final, Protocol

from gateway.delivery.retry import first_delay_s
from gateway.settings import RetrySettings
from protocols.http2.client import Header
from protocols.ping.model import Ping
from protocols.verdict import Verdict

REFUSALS_S: Final = 1.0
"""Refusals of requests with the same token arrive within this time: only the first makes a new token."""


class ProviderMessage(Protocol):
    """One encoding of a ping for all devices of one app (`protocols.apns.message`, `protocols.fcm.message`)."""

    headers: list[tuple[bytes, bytes]]
    expires_ms: int

    def path(self, pin: str) -> bytes:
        """The request's path for one device; raises InvalidToken if the token is not valid for this provider."""

    def body(self, pin: str, phone_id: str = "") -> bytes:
        """The request's body for one device."""


class Provider(ABC):
    """A provider as lanes use it.

    Attributes:
        name: as in settings, metrics, lanes and receipts.
        request_id_header: name of the header with the id of a request; b"": requests have none.
        reasons: the known reasons of `judge`'s verdicts: values of a metric label.
    """

    name: ClassVar[str]
    request_id_header: ClassVar[bytes] = b""
    reasons: ClassVar[frozenset[str]] = frozenset()

    # Subclasses set `compose` and `judge` as static methods, so that a call costs no bound method.

    @staticmethod
    @abstractmethod
    def compose(ping: Ping, target: Any, now_ms: int) -> ProviderMessage | None:
        """Encode a ping for the devices of one app.

        Args:
            ping: the ping.
            target: the app, as `Route.target` has it.
            now_ms: the time, in epoch milliseconds.

        Returns:
            The message; None: the ping holds nothing for these devices.

        Raises:
            InputError: the ping cannot be encoded for this provider.
        """

    @staticmethod
    @abstractmethod
    def judge(status: int, headers: Sequence[Header], body: bytes, now_s: float) -> Verdict:
        """Judge a response; `now_s`: epoch seconds, for a Retry-After that is a date. Never raises."""

    def validation_body(self, body: bytes) -> bytes | None:
        """The body of a request that lets the provider check a message without delivering it.

        Args:
            body: of the request that delivers the message.

        Returns:
            The body, for the same path and headers; None: the provider has no such request.
        """
        return None

    def server_error_delay_s(self, retry: RetrySettings) -> float:
        """The first delay after a 5xx without Retry-After, in seconds."""
        return retry.fcm_5xx_s

    def first_delay_s(self, verdict: Verdict, status: int, retry: RetrySettings) -> float:
        """The delay of a first retry if the provider named none, in seconds."""
        return first_delay_s(self.server_error_delay_s(retry), verdict, status, retry)


class Credential(Protocol):
    """Authorizes a lane's requests."""

    def authorization(self) -> Sequence[Header] | None:
        """Headers for the next requests; None: not now (a token is being fetched)."""

    def refresh(self, date_s: float | None = None) -> bool:
        """Get another token after the provider refused this one.

        Args:
            date_s: the provider's clock in epoch seconds, if its response has it.

        Returns:
            Whether there is another token, or will be soon; False: the same token would be sent again.
        """

    def corrected(self) -> bool:
        """Whether there is another token than the refused one, since a wrong clock was corrected meanwhile."""

    async def close(self) -> None:
        """Stop background work."""
