"""Everything that the gateway asks of a provider, in addition to the part that lanes use
(`gateway.delivery.provider`).

Each provider is one object; the rest of the gateway loops over the providers and has no branch on a provider's
name. Methods take the complete settings and an app (`device_app_id`; "": all apps without their own settings).
"""

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar, Final, NamedTuple, Protocol
from urllib.parse import urlsplit

from gateway.delivery.dead_tokens import TokenReports
from gateway.delivery.lane import Lane
from gateway.delivery.provider import Credential, Provider
from gateway.delivery.route import Route
from gateway.errors import CredentialError
from gateway.mailbox.store import MailboxStore
from gateway.metrics import Metrics
from gateway.registry.token_marks import digest
from gateway.settings import ProviderSettings, Secret, Settings
from gateway.transport.feed import Endpoint

NO_CREDENTIAL: Final = "no_credential"
"""No credential is set for this provider and app: RhoConnect logs and ignores such a ping, and so does the gateway
(contract §4)."""
NOT_SERVED: Final = "platform_not_served"


class CheckedCredential(NamedTuple):
    """A usable credential.

    Attributes:
        text: description for `rhopush check`; never a secret.
        expires_s: end of its validity, epoch seconds; None: unlimited.
    """

    text: str
    expires_s: float | None = None


class CredentialExpiry(NamedTuple):
    """The end of a credential's validity.

    Attributes:
        topic: the topic of its messages, for the log; "" if the provider has none.
        expires_s: epoch seconds.
    """

    topic: str
    expires_s: float


class ProviderServer(NamedTuple):
    """A server of a provider that an app needs.

    Attributes:
        name: its purpose, for `rhopush check`.
        host: name or address.
        port: TCP port.
        ca_file: PEM file of the trusted authorities; None: the system's.
        tls: whether it uses TLS.
    """

    name: str
    host: str
    port: int
    ca_file: str | None
    tls: bool = True


class LaneSpec(NamedTuple):
    """Specification of the HTTP/2 lane of a credential.

    Attributes:
        name: stable over restarts and the same in every gateway; begins with the provider's name and a colon.
        configuration: everything that determines the lane; after a reload, another value makes another lane.
        endpoint: the server.
        credential: makes the credential; the argument is a callback that wakes the lane when a new token has come.
        connections_max: most connections of a worker.
        deadline_s: longest wait of a request for its response.
        per_minute: the quota of messages, over all gateways; None: there is none.
        per_device: whether the endpoint came from a device's token: such a lane is closed when it is idle.
    """

    name: str
    configuration: object
    endpoint: Endpoint
    credential: Callable[[Callable[[], None]], Credential]
    connections_max: int
    deadline_s: float
    per_minute: int | None = None
    per_device: bool = False


class RouteOpener(Protocol):
    """The part of the lane manager that providers use when they open a route.

    Attributes:
        settings: the settings in force.
        metrics: for lanes.
        tokens: receives the providers' responses about device tokens.
        mailbox: stores messages for RhoConnect Push devices; None: this gateway is not their service.
    """

    settings: Settings
    metrics: Metrics
    tokens: TokenReports
    mailbox: MailboxStore | None

    def http2_lane(self, provider: Provider, spec: LaneSpec) -> Lane:
        """The lane of this name; the present one if its configuration is the same. Apps share it."""
        ...

    def only_lane(self, provider: Provider, make: Callable[[], Lane | None]) -> Lane | None:
        """The one lane of a provider whose lane no reload changes; made at the first call."""
        ...


class PushProvider(Provider):
    """A provider, as the whole gateway uses it.

    Attributes:
        devices: common name of its devices, such as "Apple" (in findings of `rhopush check`).
        per_app: whether each app may have its own settings; then the settings have a section of the provider's
            name.
        by_device: whether the endpoint of a delivery depends on the device's token; see `endpoint`.
    """

    devices: ClassVar[str]
    per_app: ClassVar[bool] = True
    by_device: ClassVar[bool] = False

    def section(self, settings: Settings, app: str) -> ProviderSettings:
        """The settings of this provider for an app."""
        return settings.app(app).provider(self.name)

    def unserved(self, settings: Settings, app: str) -> str | None:
        """The reason why no device of this app can be served by these settings; None: they can."""
        return None if self.section(settings, app).configured else NO_CREDENTIAL

    @abstractmethod
    def credential(self, settings: Settings, app: str) -> CheckedCredential | None:
        """Read and validate the credential, without a connection. `serve`, reload and `rhopush check` call this.

        Returns:
            The credential; None: the settings have none.

        Raises:
            CredentialError: it cannot be read or used; the message names the setting and holds no secret.
            BadSetting: a setting that it depends on is wrong.
        """

    def check(self, settings: Settings, app: str) -> CheckedCredential | None:
        """Do the same as `credential`, with additional checks for `rhopush check` only."""
        return self.credential(settings, app)

    def expiry(self, settings: Settings, app: str) -> CredentialExpiry | None:
        """The end of the credential's validity, for metric and warnings; None: it has none.

        Raises:
            CredentialError: the credential cannot be read.
        """
        return None

    @abstractmethod
    def servers(self, settings: Settings, app: str) -> Iterator[ProviderServer]:
        """The servers that `rhopush check` connects to; none if there is no credential."""

    def endpoint(self, settings: Settings, app: str, token: str) -> str:
        """The origin in a device's token, if `by_device` is true: `https://host:port`.

        The token comes from the device, so the provider accepts only origins that its settings allow. Otherwise a
        device could make the gateway connect to any server, and each origin is a label value of metrics.

        Raises:
            InvalidToken: the token has no origin, or an origin that is not allowed.
        """
        return ""

    @abstractmethod
    def open(self, opener: RouteOpener, app: str, endpoint: str) -> Route | None:
        """Open the route to an app's devices.

        Args:
            opener: makes lanes.
            app: as in metrics.
            endpoint: the result of `endpoint` for the device; "" if the endpoint does not depend on it.

        Returns:
            The route; None: these settings do not serve such devices.

        Raises:
            CredentialError: as `credential`.
            BadSetting: as `credential`.
        """


def authority(host: str, port: int) -> str:
    """The value of `:authority` for an https server."""
    name = f"[{host}]" if ":" in host else host
    return name if port == 443 else f"{name}:{port}"


def server_of(name: str, address: str, ca_file: Path | None) -> ProviderServer:
    """The server of an http or https address."""
    url = urlsplit(address)
    tls = url.scheme == "https"
    port = url.port or (443 if tls else 80)
    return ProviderServer(name, url.hostname or "", port, text_of_path(ca_file), tls)


def text_of_path(path: Path | None) -> str | None:
    """A path as text."""
    return None if path is None else str(path)


def host_of_scope(host: str, port: int, usual: tuple[int, ...] = (443,)) -> str:
    """The server in a token scope: its name, with the port unless that is a usual one of the provider."""
    return host if port in usual else f"{host}:{port}"


def configuration_of(settings: ProviderSettings, target: tuple[str, ...]) -> object:
    """The configuration of a lane: settings, and the content of the files that they name.

    Args:
        settings: the provider's section.
        target: settings that determine the content rather than the connection; apps that differ only in them share
            a lane.

    Raises:
        CredentialError: a file cannot be read.
    """
    values = {name: getattr(settings, name) for name in settings.__struct_fields__ if name not in target}
    return {name: _digest(value) if isinstance(value, Path) else value for name, value in values.items()}


def credential_digest(settings: ProviderSettings, names: tuple[str, ...], *others: str) -> str:
    """A digest that identifies a credential in Redis. Private keys are long, so none can be found from its digest.

    Args:
        settings: the provider's section.
        names: the settings that make the credential; None, texts, secrets or paths.
        others: further texts that make a different credential.

    Raises:
        CredentialError: a file cannot be read.
    """
    values = (getattr(settings, name) for name in names)
    return digest(*map(_text, values), *others)


def _text(value: Path | Secret | str | None) -> str:
    if isinstance(value, Path):
        return _digest(value).hex()
    return value.reveal() if isinstance(value, Secret) else value or ""


def _digest(path: Path) -> bytes:
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else None
        raise CredentialError(f"{path}: {why or 'cannot be read'}") from error
