"""All lanes of a worker: which credential serves which app, made from the settings when first needed.

When the settings change, a lane whose credential, server or limits are still the same stays with all its
connections; any other has a successor, which gets what waits, and ends once what it has sent is answered.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import structlog

from gateway.delivery.credential_check import unusable_credentials
from gateway.delivery.credentials import (
    ApnsAccess,
    ApnsKey,
    CertificateCredential,
    FcmAccount,
    read_apns,
    read_fcm,
)
from gateway.delivery.dead_tokens import TokenReports
from gateway.delivery.http2_lane import Http2Lane, LaneOptions
from gateway.delivery.lane import Lane
from gateway.delivery.providers import PROVIDERS, Credential
from gateway.delivery.quota import Quota
from gateway.delivery.rate_limiter import RateLimiter
from gateway.delivery.rhoconnect_push_builtin import BuiltinRhoConnectPushLane
from gateway.delivery.rhoconnect_push_remote import RemoteRhoConnectPushLane
from gateway.delivery.route import LaneInterface, Route, token_scope
from gateway.delivery.unsaved import UnsavedVerdicts
from gateway.errors import BadSetting, CredentialError
from gateway.mailbox.store import MailboxStore
from gateway.metrics import Metrics
from gateway.registry.token_marks import digest
from gateway.scheduling.scheduler import Scheduler
from gateway.settings import ApnsSettings, FcmSettings, Secret, Settings
from gateway.store.former_words import former_lane_name
from gateway.transport.feed import Endpoint
from protocols.apns.credentials import Certificate
from protocols.apns.message import ApnsTarget
from protocols.devices import APNS, FCM, RHOCONNECT_PUSH
from protocols.fcm.message import FcmTarget
from protocols.rhoconnect_push.message import RhoConnectPushTarget

_log = structlog.get_logger("lane_manager")

NO_CREDENTIAL: Final = "no_credential"
"""Nothing is set for this provider and app: RhoConnect logs and ignores such a ping, so do we (contract §4)."""
NOT_SERVED: Final = "platform_not_served"
_REFUSED: Final = (BadSetting.label, CredentialError.label)
_APNS_TARGET: Final = ("topic", "background_min_interval_s", "alert")
_FCM_TARGET: Final = ("package_name", "style", "sync_priority")
"""Settings that tell what is sent rather than how: apps that differ in them alone share a lane."""
_APNS_SERVER: Final = ("environment", "host", "port", "sandbox_host", "sandbox_port")
_APNS_CREDENTIAL: Final = ("key", "key_file", "key_id", "team_id", "certificate_file")
_FCM_CREDENTIAL: Final = ("credentials", "credentials_file", "project_id")


class LaneManager:
    """Makes routes and lanes on demand.

    Args:
        settings: those in force.
        metrics: handed to each lane.
        tokens: takes note of the providers' answers about device tokens.
        mailbox: where messages for legacy devices go, where this gateway is their service.
        quota: keeps all processes together to what providers allow; None: nobody does.
        scheduler: knows whether small pings are under way; a lane has its own unless given.
        unsaved: whether this worker can record verdicts; of its own unless given.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        tokens: TokenReports,
        mailbox: MailboxStore | None = None,
        quota: Quota | None = None,
        scheduler: Scheduler | None = None,
        unsaved: UnsavedVerdicts | None = None,
    ) -> None:
        self._unsaved = UnsavedVerdicts() if unsaved is None else unsaved
        self._unsaved.on_resumed = self._wake_all
        self._settings = settings
        self._mailbox = mailbox
        self._quota = quota
        self._scheduler = scheduler
        self._metrics = metrics
        self._tokens = tokens
        self._routes: dict[tuple[str, str], Route | str] = {}
        self.routes_version: object = object()
        """Another one whenever a route may have changed."""
        self._lanes: dict[str, Lane] = {}
        self._configurations: dict[str, object] = {}
        """What each lane was made of: another value is another lane."""
        self._up_to_date: set[str] = set()
        """Names of lanes that are right by the settings in force."""
        self._retiring: set[asyncio.Task[None]] = set()

    def route(self, platform: str, app_id: str) -> Route | str:
        """How to reach a device of this app, or the reason why that is impossible."""
        app = app_id if app_id in self._settings.apps else ""
        known = self._routes.get((platform, app))
        if known is None:
            known = self._routes[platform, app] = self._open(platform, app)
        return known

    def all(self) -> Iterable[Lane]:
        """Every lane that exists."""
        return self._lanes.values()

    def apply_settings(self, settings: Settings) -> None:
        """Take over new settings. A route whose new credential cannot be read stays as it was."""
        self._settings = settings
        self.routes_version = object()
        self._up_to_date.clear()
        before, self._routes = self._routes, {}
        lanes = dict(self._lanes)
        successors: dict[LaneInterface, LaneInterface] = {}
        for (platform, app), old in before.items():
            if app and app not in settings.apps:
                continue
            new = self._open(platform, app)
            if isinstance(old, Route) and new in _REFUSED:
                _log.error("credential_update_failed", provider=platform, app=app)
                new = old
            self._routes[platform, app] = new
            if isinstance(old, Route) and isinstance(new, Route):
                for one in old.chain if old is not new else ():
                    successors.setdefault(one.lane, one.succeeded_by(new).lane)
        routes = [one for route in self._routes.values() if isinstance(route, Route) for one in route.chain]
        used = {route.lane for route in routes}
        self._tokens.retain({route.token_scope.identity for route in routes if route.token_scope is not None})
        for name, lane in lanes.items():
            lane.retry = settings.retry
            if isinstance(lane, Http2Lane) and (lane not in used or self._lanes[name] is not lane):
                self._retire(name, lane, successors.get(lane))

        self.log_unusable()

    def log_unusable(self) -> None:
        """Log every credential that cannot be used, before a ping needs it; of an open route that is said already."""
        for found in unusable_credentials(self._settings):
            if (found.provider, found.app) not in self._routes:
                _log.error("credential_invalid", provider=found.provider, app=found.app, error=found.error)

    def _retire(self, name: str, lane: Http2Lane, successor: LaneInterface | None) -> None:
        """Let a lane end. Its successor serves the apps that it served; it may have another name."""
        successor = None if successor is lane else successor
        if self._lanes[name] is lane:
            del self._lanes[name], self._configurations[name]
            lane.clear_metrics()
        task = asyncio.create_task(lane.retire(successor), name=f"retire:{name}")
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)
        _log.info("lane_retired", lane=name, successor=successor.name if successor is not None else None)

    def update_parked(self, parked: Mapping[str, int]) -> None:
        """How many sends each lane has parked in Redis, over all gateways."""
        for name, lane in self._lanes.items():
            # Deliveries that an earlier version parked are counted by the lane's former name until they are settled.
            lane.parked_total = sum(parked.get(one, 0) for one in {name, former_lane_name(name)})

    async def close(self, budget_s: float) -> None:
        """Close every lane, all within one budget."""
        until = time.monotonic() + budget_s
        await asyncio.gather(*(lane.close(budget_s) for lane in self._lanes.values()))
        if self._retiring:
            await asyncio.wait(self._retiring, timeout=max(0.0, until - time.monotonic()))
        for task in self._retiring:
            task.cancel()

    def _open(self, platform: str, app: str) -> Route | str:
        settings = self._settings.app(app)
        try:
            if platform == APNS:
                return self._open_apns(settings.apns, app) if settings.apns.configured else NO_CREDENTIAL
            if platform == FCM:
                return self._open_fcm(settings.fcm, app) if settings.fcm.configured else NO_CREDENTIAL
            if platform == RHOCONNECT_PUSH:
                return self._open_rhoconnect_push(app)
        except (BadSetting, CredentialError) as error:
            # `rhopush check` finds this before; a file that went away later must not end the worker.
            _log.error("credential_invalid", provider=platform, app=app, error=error.message)
            return error.label
        return NOT_SERVED

    def _open_apns(self, settings: ApnsSettings, app: str) -> Route:
        times = self._settings.ping
        access = read_apns(settings)
        topic, certificate = access.topic, access.certificate
        name = f"apns:cert:{topic}" if certificate else f"apns:{settings.key_id}"
        target = ApnsTarget(topic, times.ttl_s, times.sync_ttl_s, settings.alert)
        servers = _servers(settings, certificate)
        said = _configuration_of(settings, (*_APNS_TARGET, *_APNS_SERVER))
        credential = _credential_digest(settings, _APNS_CREDENTIAL, repr(servers))
        route: Route | None = None
        for server in reversed(servers):
            configuration = (said, topic if certificate else "", *server)
            lane = self._apns_lane(name + self._elsewhere(server), configuration, settings, access)
            route = Route(lane, target, app, token_scope(lane.name, app, server, topic, credential), route)
        if route is None:
            raise CredentialError("apns: no server", field="apns.host")
        return route

    def _elsewhere(self, server: tuple[str, int]) -> str:
        """What a lane's name has at its end where the same credential is used at another server: Apple's sandbox."""
        above = self._settings.apns
        return "" if server == (above.server, above.port) else f"@{_authority(*server)}"

    def _apns_lane(
        self,
        name: str,
        configuration: tuple[object, str, str, int],
        settings: ApnsSettings,
        access: ApnsAccess,
    ) -> Lane:
        _, _, host, port = configuration
        credential: Credential = CertificateCredential() if access.key is None else ApnsKey(access.key)
        context = access.context()
        endpoint = Endpoint(host, port, context, _authority(host, port))
        policy = self._policy(settings)
        return self._lane(
            name,
            configuration,
            lambda: Http2Lane(
                name, PROVIDERS[APNS], credential, endpoint, policy, self._metrics, self._tokens
            ),
        )

    def _open_fcm(self, settings: FcmSettings, app: str) -> Route:
        access = read_fcm(settings)
        project = access.project
        name = f"fcm:{project}"
        url = urlsplit(settings.endpoint)
        host, port = url.hostname or "", url.port or 443
        credential = FcmAccount(access.account, access.token_context(), lambda: self._wake(name))
        endpoint = Endpoint(host, port, access.context(), _authority(host, port))
        policy = self._policy(settings)
        quota = self._quota
        rate_limiter = (
            RateLimiter(quota, name, settings.per_minute, lambda: self._wake(name))
            if quota is not None
            else None
        )
        lane = self._lane(
            name,
            _configuration_of(settings, _FCM_TARGET),
            lambda: Http2Lane(
                name, PROVIDERS[FCM], credential, endpoint, policy, self._metrics, self._tokens, rate_limiter
            ),
        )
        times = self._settings.ping
        target = FcmTarget(
            project,
            settings.package_name or "",
            settings.style,
            times.ttl_s,
            times.sync_ttl_s,
            settings.sync_priority,
        )
        credential_digest = _credential_digest(settings, _FCM_CREDENTIAL, settings.endpoint, project)
        return Route(lane, target, app, token_scope(name, app, (host, port), "", credential_digest))

    def _open_rhoconnect_push(self, app: str) -> Route | str:
        """All apps share one lane: what tells them apart is in the devices' tokens."""
        settings, push_server = self._settings, self._settings.push_server
        if settings.rhoconnect_push.mode == "client" and push_server is None:
            return NO_CREDENTIAL
        name = next(
            (lane.name for lane in self._lanes.values() if lane.provider.name == RHOCONNECT_PUSH), None
        )
        lane = self._lanes[name] if name is not None else self._make_rhoconnect_push()
        if lane is None:
            return NOT_SERVED
        lane.unsaved = self._unsaved
        self._lanes[lane.name] = lane
        self._configurations[lane.name] = None  # of nothing that can change while the gateway runs
        # Of the name alone: a password is short enough to be found out from its digest. Of the former name: what the
        # push service answered to earlier versions still counts.
        former = former_lane_name(lane.name)
        there = token_scope(lane.name, app, (former, 0), "", digest(former))._replace(host=lane.name)
        return Route(lane, RhoConnectPushTarget(settings.ping.ttl_s, settings.ping.sync_ttl_s), app, there)

    def _make_rhoconnect_push(self) -> Lane | None:
        settings, push_server = self._settings, self._settings.push_server
        if settings.rhoconnect_push.mode == "client" and push_server is not None:
            return RemoteRhoConnectPushLane(push_server, settings.retry, self._metrics, self._tokens)
        if settings.rhoconnect_push.mode == "builtin" and self._mailbox is not None:
            return BuiltinRhoConnectPushLane(self._mailbox, settings.retry, self._metrics)
        return None

    def _policy(self, settings: ApnsSettings | FcmSettings) -> LaneOptions:
        scheduler = Scheduler() if self._scheduler is None else self._scheduler
        return LaneOptions(settings.connections_max, settings.deadline_s, self._settings.retry, scheduler)

    def _lane(self, name: str, configuration: object, make: Callable[[], Http2Lane]) -> Lane:
        """Apps with the same credential share a lane, and so its connections and its limits."""
        known = name in self._up_to_date or self._configurations.get(name) == configuration
        if name not in self._lanes or not known:
            self._lanes[name], self._configurations[name] = make(), configuration
            self._lanes[name].unsaved = self._unsaved
        self._up_to_date.add(name)
        return self._lanes[name]

    def _wake_all(self) -> None:
        for lane in self._lanes.values():
            lane.wake()

    def _wake(self, name: str) -> None:
        lane = self._lanes.get(name)
        if lane is not None:
            lane.wake()


def _servers(settings: ApnsSettings, certificate: Certificate | None) -> list[tuple[str, int]]:
    """The hosts and ports that may take an app's device tokens, the first to be tried first."""
    here, sandbox = (settings.server, settings.port), settings.sandbox
    if sandbox is None:
        return [here]
    if certificate is not None and len(certificate.environments) == 1:
        return [sandbox if "development" in certificate.environments else here]
    return [here, sandbox]


def _authority(host: str, port: int) -> str:
    name = f"[{host}]" if ":" in host else host
    return name if port == 443 else f"{name}:{port}"


def _configuration_of(settings: ApnsSettings | FcmSettings, target: tuple[str, ...]) -> object:
    """All that makes a lane what it is: settings, and what stands in the files that they name.

    Raises:
        CredentialError: a file cannot be read.
    """
    values = {name: getattr(settings, name) for name in settings.__struct_fields__ if name not in target}
    return {name: _digest(value) if isinstance(value, Path) else value for name, value in values.items()}


def _credential_digest(settings: ApnsSettings | FcmSettings, names: tuple[str, ...], *others: str) -> str:
    """Stands for a credential in Redis. Private keys are long: nobody finds one out from its digest.

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
