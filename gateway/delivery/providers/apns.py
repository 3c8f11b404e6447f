"""APNs provider: Apple's devices, with a p8 key or a certificate."""

from collections.abc import Iterator
from typing import Final, cast

from gateway.delivery.provider import Credential
from gateway.delivery.providers.apns_credentials import (
    ApnsAccess,
    ApnsKey,
    CertificateCredential,
    read_apns,
    read_certificate,
)
from gateway.delivery.providers.base import (
    CheckedCredential,
    CredentialExpiry,
    LaneSpec,
    ProviderServer,
    PushProvider,
    RouteOpener,
    authority,
    configuration_of,
    credential_digest,
    host_of_scope,
    text_of_path,
)
from gateway.delivery.route import Route, token_scope
from gateway.errors import CredentialError
from gateway.settings import ApnsSettings, RetrySettings, Settings
from gateway.transport.feed import Endpoint
from protocols.apns.credentials import PushCertificate
from protocols.apns.message import ApnsTarget
from protocols.apns.message import compose as compose_apns
from protocols.apns.verdicts import REASONS
from protocols.apns.verdicts import judge as judge_apns

_TARGET: Final = ("topic", "background_min_interval_s", "alert")
"""Settings that determine the content rather than the connection: apps that differ only in them share a lane."""
_SERVER: Final = ("environment", "host", "port", "sandbox_host", "sandbox_port")
_ENVIRONMENT: Final = "apns.environment"
_PORTS: Final = (443, 2197)
"""Two ports of the same service (providers A1)."""
_CREDENTIAL: Final = ("key", "key_file", "key_id", "team_id", "certificate_file")


class ApnsProvider(PushProvider):
    """Apple Push Notification service."""

    name = "apns"
    devices = "Apple"
    request_id_header = b"apns-id"
    reasons = frozenset(reason for _, reason in REASONS)
    compose = staticmethod(compose_apns)
    judge = staticmethod(judge_apns)

    def section(self, settings: Settings, app: str) -> ApnsSettings:
        """The settings of this provider for an app."""
        return cast("ApnsSettings", super().section(settings, app))

    def server_error_delay_s(self, retry: RetrySettings) -> float:
        """The delay that Apple asks for: a quarter of an hour (providers A7)."""
        return retry.apns_5xx_s

    def credential(self, settings: Settings, app: str) -> CheckedCredential | None:
        """Check the key with its topic, or the certificate."""
        section = self.section(settings, app)
        if not section.configured:
            return None
        topic, key, certificate, _ = read_apns(section)
        if certificate is not None:
            return CheckedCredential(f"certificate for {topic}", certificate.expires_s)
        who = f"key {key.key_id} of team {key.team_id}, " if key is not None else ""
        return CheckedCredential(f"{who}topic {topic}")

    def expiry(self, settings: Settings, app: str) -> CredentialExpiry | None:
        """The expiry of the certificate, also of one that cannot be used otherwise; a p8 key has none."""
        section = self.section(settings, app)
        if section.certificate_file is None:
            return None
        certificate = read_certificate(section)
        topic = section.topic or next(iter(certificate.topics), "")
        return CredentialExpiry(topic, certificate.expires_s)

    def servers(self, settings: Settings, app: str) -> Iterator[ProviderServer]:
        """Apple's server; with `environment: auto` both servers."""
        section = self.section(settings, app)
        if section.configured:
            ca_file = text_of_path(section.ca_file)
            yield ProviderServer(
                "apns", section.server, section.port, ca_file, setting="apns.host and apns.port"
            )
            if section.sandbox is not None:
                named = "apns.sandbox_host and apns.sandbox_port"
                yield ProviderServer("apns sandbox", *section.sandbox, ca_file, setting=named)

    def open(self, opener: RouteOpener, app: str, endpoint: str) -> Route:
        """Open a route by the app's credential; with `environment: auto` its fallback is the route at the sandbox."""
        settings, times = self.section(opener.settings, app), opener.settings.ping
        access = read_apns(settings)
        topic, certificate = access.topic, access.certificate
        target = ApnsTarget(topic, times.ttl_s, times.sync_ttl_s, settings.alert, times.include_id)
        servers = _servers(settings, certificate)
        configuration = configuration_of(settings, (*_TARGET, *_SERVER))
        credential = credential_digest(settings, _CREDENTIAL, repr(servers))
        setting = f"apps.{app}.{_ENVIRONMENT}" if app else _ENVIRONMENT
        route: Route | None = None
        for server in reversed(servers):
            lane = opener.http2_lane(
                self, self._lane(opener.settings, settings, access, server, configuration)
            )
            host = host_of_scope(*server, usual=_PORTS)
            scope = token_scope(lane.name, app, host, topic, credential, setting)
            route = Route(lane, target, app, scope, route)
        if route is None:
            raise CredentialError("apns: no server", field="apns.host")
        return route

    def _lane(
        self,
        everywhere: Settings,
        settings: ApnsSettings,
        access: ApnsAccess,
        server: tuple[str, int],
        configuration: object,
    ) -> LaneSpec:
        by_certificate = access.certificate is not None
        name = f"apns:cert:{access.topic}" if by_certificate else f"apns:{settings.key_id}"
        above = everywhere.apns
        if server != (above.server, above.port):
            # The same credential is used at another server: Apple's sandbox.
            name += f"@{authority(*server)}"

        def credential(_wake: object) -> Credential:
            return CertificateCredential() if access.key is None else ApnsKey(access.key)

        return LaneSpec(
            name,
            (configuration, access.topic if by_certificate else "", *server),
            Endpoint(*server, access.context(), authority(*server)),
            credential,
            settings.connections_max,
            settings.deadline_s,
        )


def _servers(settings: ApnsSettings, certificate: PushCertificate | None) -> list[tuple[str, int]]:
    """The hosts and ports that may accept an app's device tokens, in the order of attempts."""
    here, sandbox = (settings.server, settings.port), settings.sandbox
    if sandbox is None:
        return [here]
    if certificate is not None and len(certificate.environments) == 1:
        return [sandbox if "development" in certificate.environments else here]
    return [here, sandbox]


PROVIDER: Final = ApnsProvider()
