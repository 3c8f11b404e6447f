"""The provider's object: composes messages, judges answers, reads the credential, opens routes."""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, cast
from urllib.parse import urlsplit

from courier import CourierSettings
from gateway.delivery.credential_files import read_file
from gateway.delivery.provider import Credential
from gateway.delivery.providers.base import (
    CheckedCredential,
    LaneSpec,
    ProviderServer,
    PushProvider,
    RouteOpener,
    authority,
    configuration_of,
    credential_digest,
    server_of,
)
from gateway.delivery.route import Route, token_scope
from gateway.errors import CredentialError
from gateway.settings import Settings
from gateway.transport.feed import Endpoint
from gateway.transport.tls import client_context
from protocols.errors import InvalidToken
from protocols.http2.client import Header
from protocols.ping.content import expires_ms, has_message, merged, text_of
from protocols.ping.model import Ping
from protocols.provider_response import retry_after_s
from protocols.verdict import ACCEPTED, Verdict, VerdictKind

_VERDICTS = {
    200: ACCEPTED,
    201: ACCEPTED,
    401: Verdict(VerdictKind.LATER, "BadAccount"),
    404: Verdict(VerdictKind.REJECTED, "UnknownParcel", dead=True),
    410: Verdict(VerdictKind.REJECTED, "UnknownParcel", dead=True),
    429: Verdict(VerdictKind.LATER, "TooManyParcels"),
}


class CourierTarget(NamedTuple):
    """What a message depends on besides the ping: the times to live."""

    ttl_s: int
    sync_ttl_s: int


class CourierMessage:
    """A ping, encoded once for all devices of an app."""

    def __init__(self, body: bytes, expires_ms: int) -> None:
        self.headers: list[Header] = [(b"content-type", b"application/json")]
        self.expires_ms = expires_ms
        self._body = body

    def path(self, pin: str) -> bytes:
        """The path of the device's URL."""
        path = urlsplit(pin).path
        if not path.isascii() or len(path) < 2:
            raise InvalidToken("the device's token has no path")
        return path.encode()

    def body(self, pin: str, phone_id: str = "") -> bytes:
        """The same for every device."""
        return self._body


def compose(ping: Ping, target: CourierTarget, now_ms: int) -> CourierMessage | None:
    """A ping as a message; None where it has neither a message nor sources nor additions."""
    additions = ping.additions_of("courier")
    if not has_message(ping) and not ping.sources and additions is None:
        return None
    said = {"text": text_of(ping.message) if has_message(ping) else None, "sources": ping.sources}
    said = merged(said, additions)
    ends_ms = expires_ms(ping, target.ttl_s, target.sync_ttl_s, now_ms)
    return CourierMessage(json.dumps(said).encode(), ends_ms)


def judge(status: int, headers: Sequence[Header], body: bytes, now_s: float) -> Verdict:
    """The verdict of an answer, by its status."""
    kind = VerdictKind.LATER if status >= 500 else VerdictKind.REJECTED
    verdict = _VERDICTS.get(status, Verdict(kind, f"HTTP {status}"))
    if verdict.kind is VerdictKind.LATER:
        return verdict._replace(delay_s=retry_after_s(headers, now_s))
    return verdict


class AccountToken(Credential):
    """A token that is sent with each request and never changes."""

    def __init__(self, token: str) -> None:
        self._headers: tuple[Header, ...] = ((b"authorization", b"Bearer " + token.encode()),)

    def authorization(self) -> Sequence[Header]:
        """The header."""
        return self._headers

    def refresh(self, date_s: float | None = None) -> bool:
        """There is no other token."""
        return False

    def corrected(self) -> bool:
        """No clock changes it."""
        return False

    async def close(self) -> None:
        """Nothing is under way."""


class CourierProvider(PushProvider):
    """Courier."""

    name = "courier"
    devices = "Courier"
    by_device = True
    reasons = frozenset(verdict.reason for verdict in _VERDICTS.values())
    compose = staticmethod(compose)
    judge = staticmethod(judge)

    def section(self, settings: Settings, app: str) -> CourierSettings:
        """The settings of this provider that hold for an app."""
        return cast(CourierSettings, super().section(settings, app))

    def credential(self, settings: Settings, app: str) -> CheckedCredential | None:
        """The account's token."""
        section = self.section(settings, app)
        if not section.configured:
            return None
        read_token(section)
        return CheckedCredential(f"account {section.account}")

    def servers(self, settings: Settings, app: str) -> Iterator[ProviderServer]:
        """Every origin that devices may name."""
        section = self.section(settings, app)
        if section.configured:
            for origin in section.origins:
                yield server_of("courier", origin, section.ca_file)

    def endpoint(self, settings: Settings, app: str, token: str) -> str:
        """The origin of the device's URL."""
        url = urlsplit(token)
        origin = f"{url.scheme}://{url.netloc}"
        if origin not in self.section(settings, app).origins:
            raise InvalidToken("the device's token leads to an origin that courier.origins does not have")
        return origin

    def open(self, opener: RouteOpener, app: str, endpoint: str) -> Route | None:
        """A route to one origin."""
        section, times = self.section(opener.settings, app), opener.settings.ping
        if endpoint not in section.origins:
            return None  # a reload has taken it away
        token = read_token(section)
        url = urlsplit(endpoint)
        host, port = url.hostname or "", url.port or 443

        def credential(_wake: Callable[[], None]) -> Credential:
            return AccountToken(token)

        spec = LaneSpec(
            f"courier:{section.account}@{authority(host, port)}",
            configuration_of(section, ("origins",)),
            Endpoint(host, port, client_context(ca_file=section.ca_file), authority(host, port)),
            credential,
            section.connections_max,
            section.deadline_s,
            per_device=True,
        )
        lane = opener.http2_lane(self, spec)
        digest = credential_digest(section, ("token", "token_file"), endpoint)
        scope = token_scope(lane.name, app, authority(host, port), "", digest)
        return Route(lane, CourierTarget(times.ttl_s, times.sync_ttl_s), app, scope)


def read_token(section: CourierSettings) -> str:
    """The account's token.

    Raises:
        CredentialError: its file cannot be read, or holds none.
    """
    if section.token is not None:
        return section.token.reveal()
    text = read_file(section.token_file, "courier.token_file").decode("ascii", "replace").strip()
    if not text or not text.isascii():
        raise CredentialError(f"{section.token_file} holds no token", field="courier.token_file")
    return text


PROVIDER = CourierProvider()
