"""What a lane needs to know of a provider: how a ping is told, how an answer is judged, what a credential
gives.

The rules themselves are in `protocols.<provider>`; this is the one form that they all fill.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, Protocol

from protocols.apns.message import compose as compose_apns
from protocols.apns.verdicts import judge as judge_apns
from protocols.devices import APNS, FCM, RHOCONNECT_PUSH
from protocols.fcm.message import compose as compose_fcm
from protocols.fcm.verdicts import judge as judge_fcm
from protocols.http2.client import Header
from protocols.ping.model import Ping
from protocols.rhoconnect_push.message import compose as compose_rhoconnect_push
from protocols.rhoconnect_push.verdicts import judge as judge_rhoconnect_push
from protocols.verdict import Verdict


class ProviderMessage(Protocol):
    """One encoding of a ping for all devices of one app (`protocols.apns.message`, `protocols.fcm.message`)."""

    headers: list[tuple[bytes, bytes]]
    expires_ms: int

    def path(self, pin: str) -> bytes:
        """The request's path for one device; InvalidToken where the token cannot be one."""

    def body(self, pin: str, phone_id: str = "") -> bytes:
        """The request's body for one device."""


class Provider(NamedTuple):
    """One provider.

    Attributes:
        name: as in metrics, lanes and receipts.
        compose: a ping for the devices of one app (its target), at an instant in epoch ms; None: nothing to
            tell.
        judge: status, headers and body of an answer, and epoch seconds for a Retry-After that is a date.
        names_requests: whether each request carries an id of its own (apns-id).
    """

    name: str
    compose: Callable[[Ping, Any, int], ProviderMessage | None]
    judge: Callable[[int, Sequence[Header], bytes, float], Verdict]
    names_requests: bool


PROVIDERS: Final = {
    APNS: Provider(APNS, compose_apns, judge_apns, names_requests=True),
    FCM: Provider(FCM, compose_fcm, judge_fcm, names_requests=False),
    RHOCONNECT_PUSH: Provider(
        RHOCONNECT_PUSH, compose_rhoconnect_push, judge_rhoconnect_push, names_requests=False
    ),
}


class Credential(Protocol):
    """What authorises a lane's requests."""

    def authorization(self) -> Sequence[Header] | None:
        """Headers for the next requests; None: not now (a token is being fetched)."""

    def refresh(self, date_s: float | None = None) -> bool:
        """The provider refused the token: get another one.

        Args:
            date_s: the provider's clock, epoch seconds, where its answer says so.

        Returns:
            Whether there is another one, or will be soon; False: the same would be sent again.
        """

    def corrected(self) -> bool:
        """Whether there is another token than the refused one, since a wrong clock was corrected meanwhile."""

    async def close(self) -> None:
        """End what is under way."""
