"""All lanes of a worker: the credential that serves each app; lanes are made from the settings when first needed.

When the settings change, a lane with the same credential, server and limits stays with all its connections; any
other lane gets a successor, which takes over its waiting deliveries, and ends once its requests have responses.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping

import structlog

from gateway.delivery.awaited import AwaitedSyncs
from gateway.delivery.cancelled import CancelledPings
from gateway.delivery.credential_check import unusable_credentials
from gateway.delivery.dead_tokens import TokenReports
from gateway.delivery.endpoint_lane import ENDPOINT_LANES_MAX, EndpointLane
from gateway.delivery.http2_lane import Http2Lane, LaneOptions
from gateway.delivery.lane import Lane
from gateway.delivery.provider import Provider
from gateway.delivery.provider_registry import Providers, installed
from gateway.delivery.providers.base import NOT_SERVED, LaneSpec, PushProvider
from gateway.delivery.quota import Quota
from gateway.delivery.rate_limiter import RateLimiter
from gateway.delivery.route import LaneInterface, Route
from gateway.delivery.unsaved import UnsavedVerdicts
from gateway.errors import BadSetting, CredentialError, InputError
from gateway.mailbox.store import MailboxStore
from gateway.metrics import Metrics
from gateway.scheduling.scheduler import Scheduler
from gateway.settings import Settings
from gateway.store.former_words import former_lane_name

_log = structlog.get_logger("lane_manager")

_REFUSED = (BadSetting.label, CredentialError.label)
_Key = tuple[str, ...]
"""Provider and app; also the endpoint, where that depends on the device."""


class LaneManager:
    """Makes routes and lanes on demand.

    Args:
        settings: the settings in force.
        metrics: handed to each lane.
        tokens: receives the providers' responses about device tokens.
        mailbox: stores messages for RhoConnect Push devices, if this gateway is their service.
        quota: limits all processes together to the providers' quotas; None: no limit.
        scheduler: tracks whether small pings are in flight; a new one for each lane by default.
        unsaved: whether this worker can record verdicts; a new one by default.
        providers: all providers; None: the installed ones.
        cancelled: the cancelled pings of this worker; none by default.

    Attributes:
        settings: those in force.
        metrics: see above.
        tokens: see above.
        mailbox: see above.
        awaited: handed to each new lane: waits for the syncs that deliveries cause.
        device_types: device type -> provider, as `protocols.devices.platform_of` takes it.
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
        providers: Providers | None = None,
        cancelled: CancelledPings | None = None,
    ) -> None:
        self._cancelled = CancelledPings(metrics) if cancelled is None else cancelled
        self._unsaved = UnsavedVerdicts() if unsaved is None else unsaved
        self._unsaved.on_resumed = self._wake_all
        self.awaited: AwaitedSyncs | None = None
        self.settings = settings
        self.metrics = metrics
        self.tokens = tokens
        self.mailbox = mailbox
        self._providers = installed() if providers is None else providers
        self.device_types = self._providers.device_types
        self._quota = quota
        self._scheduler = scheduler
        self._routes: dict[_Key, Route | str] = {}
        self.routes_version: object = object()
        """An object that is replaced whenever a route may have changed."""
        self._lanes: dict[str, Lane] = {}
        self._configurations: dict[str, object] = {}
        """Configuration of each lane: a different value requires a different lane."""
        self._up_to_date: set[str] = set()
        """Names of lanes that match the settings in force."""
        self._retiring: set[asyncio.Task[None]] = set()

    def route(self, platform: str, app_id: str, token: str = "") -> Route | str:
        """The route to a device of this app, or the reason why there is none.

        Args:
            platform: the provider.
            app_id: the device's app.
            token: its push token; the route depends on it if the provider has an endpoint for each device.
        """
        app = app_id if app_id in self.settings.apps else ""
        known = self._routes.get((platform, app))
        return self._find(platform, app, token) if known is None else known

    def all(self) -> Iterable[Lane]:
        """Every lane that exists."""
        return self._lanes.values()

    def apply_settings(self, settings: Settings) -> None:
        """Apply new settings. A route whose new credential cannot be read stays as it was."""
        self.settings = settings
        self.routes_version = object()
        self._up_to_date.clear()
        before, self._routes = self._routes, {}
        lanes = dict(self._lanes)
        successors: dict[LaneInterface, LaneInterface] = {}
        for key, old in before.items():
            new = self._reopened(key, old)
            if new is None:
                continue
            self._routes[key] = new
            if isinstance(old, Route) and isinstance(new, Route):
                for one in old.chain if old is not new else ():
                    successors.setdefault(one.lane, one.succeeded_by(new).lane)
        routes = [one for route in self._routes.values() if isinstance(route, Route) for one in route.chain]
        used = {route.lane for route in routes}
        self.tokens.retain({route.token_scope.identity for route in routes if route.token_scope is not None})
        for name, lane in lanes.items():
            lane.retry = settings.retry
            if isinstance(lane, Http2Lane) and (lane not in used or self._lanes[name] is not lane):
                self._retire(name, lane, successors.get(lane))

        self.log_unusable()

    def _reopened(self, key: _Key, old: Route | str) -> Route | str | None:
        """The route that replaces a former one; None: there is none, or the next device opens it."""
        platform, app, *endpoint = key
        provider = self._providers.get(platform)
        if app and app not in self.settings.apps:
            return None
        if provider is not None and provider.by_device and not (endpoint and isinstance(old, Route)):
            return None
        new = self._open(provider, platform, app, *endpoint)
        if isinstance(old, Route) and new in _REFUSED:
            _log.error("credential_update_failed", provider=platform, app=app)
            return old
        return None if endpoint and isinstance(new, str) else new

    def log_unusable(self) -> None:
        """Log every credential that cannot be used, before a ping needs it; errors of open routes are already
        logged."""
        opened = {key[:2] for key in self._routes}
        for found in unusable_credentials(self.settings, self._providers):
            if (found.provider, found.app) not in opened:
                _log.error("credential_invalid", provider=found.provider, app=found.app, error=found.error)

    def close_idle(self) -> None:
        """Close each lane of a device-named endpoint that was not used for some time."""
        now_s = time.monotonic()
        for lane in self._endpoint_lanes():
            if lane.is_idle(now_s):
                self._close_endpoint(lane)

    def _endpoint_lanes(self) -> list[EndpointLane]:
        return [lane for lane in self._lanes.values() if isinstance(lane, EndpointLane)]

    def _close_endpoint(self, lane: EndpointLane) -> None:
        """Retire a lane; the next device with its endpoint opens it again."""
        self._routes = {
            key: route
            for key, route in self._routes.items()
            if isinstance(route, str) or all(one.lane is not lane for one in route.chain)
        }
        self.routes_version = object()
        self._retire(lane.name, lane, None)

    def _retire(self, name: str, lane: Http2Lane, successor: LaneInterface | None) -> None:
        """Retire a lane. Its successor serves the same apps; it may have another name."""
        successor = None if successor is lane else successor
        if self._lanes[name] is lane:
            del self._lanes[name], self._configurations[name]
            lane.clear_metrics()
        task = asyncio.create_task(lane.retire(successor), name=f"retire:{name}")
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)
        _log.info("lane_retired", lane=name, successor=successor.name if successor is not None else None)

    def end_cancelled(self) -> None:
        """End the waiting deliveries of pings that were cancelled."""
        for lane in self._lanes.values():
            lane.end_cancelled()

    def update_parked(self, parked: Mapping[str, int]) -> None:
        """Update the number of deliveries that each lane has parked in Redis, over all gateways."""
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

    def _find(self, platform: str, app: str, token: str) -> Route | str:
        """Find a route that is not known yet, or that depends on the device."""
        provider = self._providers.get(platform)
        if provider is None or not provider.by_device:
            found = self._routes[platform, app] = self._open(provider, platform, app)
            return found
        reason = provider.unserved(self.settings, app)
        if reason is not None:
            self._routes[platform, app] = reason
            return reason
        try:
            endpoint = provider.endpoint(self.settings, app, token)
        except InputError as error:
            return error.label
        key = (platform, app, endpoint)
        return self._routes.get(key) or self._open_endpoint(provider, key)

    def _open_endpoint(self, provider: PushProvider, key: _Key) -> Route | str:
        """Open the route to an endpoint. An error of the credential is the same for all endpoints of the app."""
        platform, app, endpoint = key
        lanes = self._endpoint_lanes()
        if len(lanes) >= ENDPOINT_LANES_MAX:
            self._close_endpoint(min(lanes, key=lambda lane: lane.offered_s))
        found = self._open(provider, platform, app, endpoint)
        self._routes[(platform, app) if isinstance(found, str) else key] = found
        return found

    def _open(
        self, provider: PushProvider | None, platform: str, app: str, endpoint: str = ""
    ) -> Route | str:
        if provider is None:
            return NOT_SERVED
        try:
            return provider.unserved(self.settings, app) or provider.open(self, app, endpoint) or NOT_SERVED
        except (BadSetting, CredentialError) as error:
            # `rhopush check` finds this before; a file that went away later must not end the worker.
            _log.error("credential_invalid", provider=platform, app=app, error=error.message)
            return error.label

    # -- interface of the providers (RouteOpener) ------------------------------------------------------------

    def http2_lane(self, provider: Provider, spec: LaneSpec) -> Lane:
        """The lane of a credential. Apps with the same credential share a lane, its connections and its limits."""
        name = spec.name
        known = name in self._up_to_date or self._configurations.get(name) == spec.configuration
        if name not in self._lanes or not known:
            self._lanes[name], self._configurations[name] = self._make(provider, spec), spec.configuration
            self._share(self._lanes[name])
        self._up_to_date.add(name)
        return self._lanes[name]

    def only_lane(self, provider: Provider, make: Callable[[], Lane | None]) -> Lane | None:
        """The only lane of a provider whose configuration cannot change while the gateway runs."""
        lane = next((lane for lane in self._lanes.values() if lane.provider is provider), None) or make()
        if lane is not None:
            self._lanes[lane.name], self._configurations[lane.name] = lane, None
            self._share(lane)
        return lane

    def _share(self, lane: Lane) -> None:
        lane.unsaved, lane.cancelled, lane.awaited = self._unsaved, self._cancelled, self.awaited

    def _wake_all(self) -> None:
        for lane in self._lanes.values():
            lane.wake()

    def _make(self, provider: Provider, spec: LaneSpec) -> Http2Lane:
        def wake() -> None:
            lane = self._lanes.get(spec.name)
            if lane is not None:
                lane.wake()

        rate_limiter = (
            RateLimiter(self._quota, spec.name, spec.per_minute, wake)
            if self._quota is not None and spec.per_minute is not None
            else None
        )
        scheduler = Scheduler() if self._scheduler is None else self._scheduler
        options = LaneOptions(spec.connections_max, spec.deadline_s, self.settings.retry, scheduler)
        kind = EndpointLane if spec.per_device else Http2Lane
        lane = kind(
            spec.name,
            provider,
            spec.credential(wake),
            spec.endpoint,
            options,
            self.metrics,
            self.tokens,
            rate_limiter,
        )
        if isinstance(lane, EndpointLane):
            lane.offered_s = time.monotonic()
        return lane
