"""RhoConnect Push provider: RhoConnect Push devices, served by this gateway or through another push service.

Its settings (`rhoconnect_push` and `:push_server:`) are those of the service and apply to all apps, because a
device's token names the app.
"""

from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from gateway.delivery.lane import Lane
from gateway.delivery.providers.base import (
    NO_CREDENTIAL,
    NOT_SERVED,
    CheckedCredential,
    ProviderServer,
    PushProvider,
    RouteOpener,
)
from gateway.delivery.rhoconnect_push_builtin import BuiltinRhoConnectPushLane
from gateway.delivery.rhoconnect_push_remote import RemoteRhoConnectPushLane, read_push_server
from gateway.delivery.route import Route, token_scope
from gateway.registry.token_marks import digest
from gateway.settings import Secret, Settings
from gateway.store.former_words import former_lane_name
from protocols.rhoconnect_push.message import RhoConnectPushTarget
from protocols.rhoconnect_push.message import compose as compose_rhoconnect_push
from protocols.rhoconnect_push.verdicts import STATUSES
from protocols.rhoconnect_push.verdicts import judge as judge_rhoconnect_push


class RhoConnectPushProvider(PushProvider):
    """The RhoConnect Push Service."""

    name = "rhoconnect_push"
    devices = "legacy"
    per_app = False
    reasons = frozenset(verdict.reason for verdict in STATUSES.values())
    compose = staticmethod(compose_rhoconnect_push)
    judge = staticmethod(judge_rhoconnect_push)

    def unserved(self, settings: Settings, app: str) -> str | None:
        """None unless the service is off or the other service has no address."""
        mode = settings.rhoconnect_push.mode
        if mode == "client":
            return NO_CREDENTIAL if settings.push_server is None else None
        return NOT_SERVED if mode == "off" else None

    def credential(self, settings: Settings, app: str) -> CheckedCredential | None:
        """Check the address of the other push service, which contains the app's credentials."""
        push_server = _push_server(settings)
        if push_server is None:
            return None
        origin, _ = read_push_server(push_server)
        return CheckedCredential(origin)

    def servers(self, settings: Settings, app: str) -> Iterator[ProviderServer]:
        """The server of the other push service."""
        push_server = _push_server(settings)
        if push_server is not None:
            url = urlsplit(push_server.reveal())
            tls = url.scheme == "https"
            port = url.port or (443 if tls else 80)
            yield ProviderServer("push_server", url.hostname or "", port, None, tls)

    def open(self, opener: RouteOpener, app: str, endpoint: str) -> Route | None:
        """Open the route; all apps share one lane, since the devices' tokens name the app."""
        lane = opener.only_lane(self, lambda: self._make(opener))
        if lane is None:
            return None
        # The digest covers the name alone: a password is short enough to be found from its digest. It covers the
        # former name, so that responses of the push service to earlier versions still count.
        former = former_lane_name(lane.name)
        scope = token_scope(lane.name, app, f"{former}:0", "", digest(former))._replace(host=lane.name)
        times = opener.settings.ping
        return Route(lane, RhoConnectPushTarget(times.ttl_s, times.sync_ttl_s, times.include_id), app, scope)

    def _make(self, opener: RouteOpener) -> Lane | None:
        settings, push_server = opener.settings, _push_server(opener.settings)
        if push_server is not None:
            return RemoteRhoConnectPushLane(self, push_server, settings.retry, opener.metrics, opener.tokens)
        if settings.rhoconnect_push.mode == "builtin" and opener.mailbox is not None:
            return BuiltinRhoConnectPushLane(self, opener.mailbox, settings.retry, opener.metrics)
        return None


def _push_server(settings: Settings) -> Secret | None:
    """The address of the other push service; None: this gateway is the service, or there is none."""
    return settings.push_server if settings.rhoconnect_push.mode == "client" else None


PROVIDER: Final = RhoConnectPushProvider()
