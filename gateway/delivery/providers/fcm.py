"""FCM provider: Android devices, and others that register with Firebase, with a Google credential."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, cast
from urllib.parse import urlsplit

from gateway.delivery.credential_files import read_file
from gateway.delivery.providers.base import (
    CheckedCredential,
    LaneSpec,
    ProviderServer,
    PushProvider,
    RouteOpener,
    authority,
    configuration_of,
    credential_digest,
    host_of_scope,
    server_of,
)
from gateway.delivery.providers.fcm_credentials import FcmAccount, read_fcm, read_google, token_uris
from gateway.delivery.route import Route, token_scope
from gateway.errors import CredentialError
from gateway.settings import FcmSettings, Settings
from gateway.transport.feed import Endpoint
from protocols.fcm.credentials import GoogleCredential
from protocols.fcm.message import FcmTarget
from protocols.fcm.message import compose as compose_fcm
from protocols.fcm.verdicts import REASONS, RPC_CODES
from protocols.fcm.verdicts import judge as judge_fcm

_TARGET: Final = ("package_name", "style", "sync_priority")
"""Settings that determine the content rather than the connection: apps that differ only in them share a lane."""
_CREDENTIAL: Final = ("credentials", "credentials_file", "project_id")


class FcmProvider(PushProvider):
    """Firebase Cloud Messaging."""

    name = "fcm"
    devices = "Android"
    reasons = frozenset({*REASONS, *RPC_CODES})
    compose = staticmethod(compose_fcm)
    judge = staticmethod(judge_fcm)

    def section(self, settings: Settings, app: str) -> FcmSettings:
        """The settings of this provider for an app."""
        return cast("FcmSettings", super().section(settings, app))

    def credential(self, settings: Settings, app: str) -> CheckedCredential | None:
        """Check the account and the project."""
        section = self.section(settings, app)
        if not section.configured:
            return None
        access = read_fcm(section)
        return CheckedCredential(f"{access.credential.account}, project {access.project}")

    def check(self, settings: Settings, app: str) -> CheckedCredential | None:
        """Do the same as `credential`; also check that the file with an external account's own token can be read."""
        found = self.credential(settings, app)
        if found is not None:
            _read_source(read_google(self.section(settings, app)))
        return found

    def servers(self, settings: Settings, app: str) -> Iterator[ProviderServer]:
        """The API server, and the servers of access tokens."""
        section = self.section(settings, app)
        if not section.configured:
            return
        yield server_of("fcm", section.endpoint, section.ca_file)
        try:
            for uri in token_uris(read_google(section)):
                yield server_of("fcm tokens", uri, section.ca_file)
        except CredentialError:
            return  # `check` reports it

    def validation_body(self, body: bytes) -> bytes | None:
        """The message with `validate_only` (Google, REST reference of `projects.messages.send`)."""
        return b'{"validate_only":true,' + body[1:]

    def open(self, opener: RouteOpener, app: str, endpoint: str) -> Route:
        """Open a route by the app's project."""
        settings, times = self.section(opener.settings, app), opener.settings.ping
        access = read_fcm(settings)
        project = access.project
        url = urlsplit(settings.endpoint)
        host, port = url.hostname or "", url.port or 443
        tokens_tls = access.token_context()
        spec = LaneSpec(
            f"fcm:{project}",
            configuration_of(settings, _TARGET),
            Endpoint(host, port, access.context(), authority(host, port)),
            lambda wake: FcmAccount(access.account, tokens_tls, wake),
            settings.connections_max,
            settings.deadline_s,
            settings.per_minute,
        )
        lane = opener.http2_lane(self, spec)
        target = FcmTarget(
            project,
            settings.package_name or "",
            settings.style,
            times.ttl_s,
            times.sync_ttl_s,
            settings.sync_priority,
            times.include_id,
        )
        credential = credential_digest(settings, _CREDENTIAL, settings.endpoint, project)
        scope = token_scope(lane.name, app, host_of_scope(host, port), "", credential)
        return Route(lane, target, app, scope)


def _read_source(credential: GoogleCredential) -> None:
    """Read the file with an external account's own token, if it has one.

    Raises:
        CredentialError: it cannot be read.
    """
    source = credential.info.get("credential_source")
    path = source.get("file") if isinstance(source, dict) else None
    if isinstance(path, str):
        read_file(Path(path), "credential_source.file")


PROVIDER: Final = FcmProvider()
