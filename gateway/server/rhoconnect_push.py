"""Assembly of one worker's RhoConnect Push service: authentication, ids, and the listening socket."""

import asyncio
import hashlib
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import structlog

from gateway.clock import SHARED_CLOCK
from gateway.http_api.client_address import ClientAddresses, address_group
from gateway.http_api.rhoconnect_push_login import PUSH_SERVER, app_credentials, same_app
from gateway.http_api.sessions import COOKIE, SharedSessions
from gateway.limits.body_budget import BodyBudget
from gateway.limits.connection_limits import ConnectionLimits
from gateway.mailbox.store import MailboxLimits, MailboxStore
from gateway.metrics import Metrics
from gateway.registry.accounts import Accounts
from gateway.registry.login_limits import LoginLimits
from gateway.registry.logins import LoginThrottle
from gateway.rhoconnect_push import (
    USER_S,
    AppAuthenticator,
    Authenticator,
    PushService,
    PushTimeouts,
    RhoConnectAuthenticator,
    RunningService,
    open_service,
)
from gateway.scheduling.background import run_in_background
from gateway.server.further_redis import RHOCONNECT_PUSH_REDIS, further_addresses
from gateway.server.id_secret import IdSecret
from gateway.server.push_certificate import push_context
from gateway.settings import RhoConnectPushSettings, Secret, Settings
from gateway.store.address import main_address, rhoconnect_push_address
from gateway.store.client_factory import HTTP_TIMEOUT_S, client
from protocols.rhoconnect_push.ids import Ids
from protocols.rhoconnect_push.wire import basic

_log = structlog.get_logger("rhoconnect_push")

_OWN_REDIS_S: Final = 1.0
"""Longest wait at the start for each connection to a Redis that only RhoConnect Push needs."""
_APPS_AT_ONCE: Final = 8
"""Largest number of apps whose credentials are checked at once."""
_SESSION: Final = re.compile(rf"(?:^|[;,])\s*{COOKIE}=([^;,\s]+)")


class LocalAuthenticator:
    """Authenticates against the gateway's own accounts, as RhoConnect's rps_login does (contract §2.2).

    A user needs a session of this gateway, and Basic credentials, whose name may differ from the session's user. An
    app needs the credentials in `:push_server:`.

    Args:
        settings: `auth.devices` and `push_server`.
        accounts: the users; None: there are none here, and no user is accepted.
    """

    def __init__(self, settings: Settings, accounts: Accounts | None) -> None:
        self._mode = settings.auth.devices
        self._app = app_credentials(settings.push_server)
        self._accounts = accounts
        self._sessions = None if accounts is None else SharedSessions(accounts.session_secret)

    async def user(self, cookies: str, authorization: str | None, client: str = "") -> bool:
        """Return whether the headers authenticate a user of the gateway. Raises StoreDown, AuthenticationBusy."""
        accounts, sessions = self._accounts, self._sessions
        if self._mode == "off" or accounts is None or sessions is None or not basic(authorization).encoded:
            return False
        if self._mode == "open":
            return True
        found = _SESSION.search(cookies)
        session = None if found is None else await sessions.read(found[1], SHARED_CLOCK.now_s())
        if session is None:
            return False
        return await accounts.session_user(session.login, session.fingerprint, client) is not None

    async def close(self) -> None:
        """Cancel look-ups of sessions that are in progress."""
        if self._accounts is not None:
            await self._accounts.close()

    async def app(self, authorization: str, _client: str = "") -> bool:
        """Return whether the header has the credentials in `:push_server:`."""
        given = basic(authorization)
        return self._app is not None and bool(given.encoded) and same_app(given, self._app)


class RateLimitedAppAuthenticator:
    """Authenticates apps by another authenticator, within the rate limit of logins: an app's password can be guessed,
    too.

    Args:
        authenticator: the other authenticator.
        logins: counts the attempts.
    """

    def __init__(self, authenticator: AppAuthenticator, logins: LoginThrottle) -> None:
        self._authenticator = authenticator
        self._logins = logins

    async def app(self, authorization: str, client: str) -> bool:
        """Return whether the header authenticates an app. Raises as the authenticator and as
        `LoginThrottle.attempt`."""

        async def check() -> bool | None:
            return await self._authenticator(authorization, client) or None

        return bool(await self._logins.attempt(f"secret:{PUSH_SERVER}", client, check))


@asynccontextmanager
async def open_mailbox(settings: Settings) -> AsyncIterator[MailboxStore | None]:
    """Open the mailbox store of the service; yields None if this gateway does not run the service.

    A Redis of its own (`rhoconnect_push.redis`) that cannot be reached delays only RhoConnect Push, at the start as
    later: the store connects as soon as it can be reached.

    Raises:
        StoreDown: the Redis that the gateway itself needs cannot be reached.
        StoreRefused: Redis refuses the connection.
    """
    if settings.rhoconnect_push.mode != "builtin":
        yield None
        return
    rhoconnect_push = settings.rhoconnect_push
    keeping = MailboxLimits(
        rhoconnect_push.registration_ttl_s, rhoconnect_push.queue_max, rhoconnect_push.collapse_unnamed
    )
    store = MailboxStore(rhoconnect_push_address(settings), keeping)
    try:
        if settings.redis is not None and RHOCONNECT_PUSH_REDIS in further_addresses(settings):
            await store.open(_OWN_REDIS_S, required=False)
        else:
            await store.open()
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def open_rhoconnect_push(
    settings: Settings,
    store: MailboxStore,
    sock: socket.socket,
    metrics: Metrics,
    bodies: BodyBudget | None = None,
    connections: ConnectionLimits | None = None,
    *,
    slot: int = 0,
) -> AsyncIterator[RunningService]:
    """Run the service on its bound socket. The caller closes the service; the context closes its dependencies.

    While Redis does not accept writes and there is no secret yet, devices and apps get 503.

    Args:
        slot: number of this worker. Worker 0 maintains the copy of the secret in the data folder.

    Raises:
        StoreDown: Redis does not answer.
        BadSetting: the certificate cannot be used.
        UnsafeFile: other users may have written the copy of the secret.
    """
    rhoconnect_push = settings.rhoconnect_push
    keeping: asyncio.Task[None] | None = None
    house = LocalAuthenticator(settings, None)
    address = rhoconnect_push_address(settings) if settings.redis is None else main_address(settings)
    redis = client(address, timeout_s=HTTP_TIMEOUT_S)
    if rhoconnect_push.user_auth_url is None and settings.redis is not None:
        accounts = Accounts(redis, api_token=Secret(""), admin_password=None, owns_store=False)
        house = LocalAuthenticator(settings, accounts)
    if rhoconnect_push.user_auth_url is None and settings.auth.devices == "off":
        _log.warning(
            "rhoconnect_push_registrations_disabled",
            why="neither rhoconnect_push.user_auth_url nor auth.devices is set, so users cannot authenticate",
        )
    users = (
        None
        if rhoconnect_push.user_auth_url is None
        else RhoConnectAuthenticator(rhoconnect_push.user_auth_url)
    )
    apps = (
        None
        if rhoconnect_push.app_auth_url is None
        else RhoConnectAuthenticator(rhoconnect_push.app_auth_url)
    )
    logins = LoginThrottle(LoginLimits(redis), _APPS_AT_ONCE)
    counted = RateLimitedAppAuthenticator(house.app if apps is None else apps.app, logins)
    clients = ClientAddresses(settings.http.trusted_proxies)
    try:
        cached_authenticator = Authenticator(
            house.user if users is None else users.user,
            counted.app,
            app_s=rhoconnect_push.auth_cache_s,
            user_s=min(rhoconnect_push.auth_cache_s, USER_S),
        )
        times = PushTimeouts(wait_s=rhoconnect_push.wait_s)
        bodies = bodies or BodyBudget(settings.limits.bodies_bytes)
        connections = connections or ConnectionLimits(settings.limits.connections)
        service = PushService(
            store, None, cached_authenticator, times, metrics, bodies=bodies, limits=connections
        )
        service.client_of = lambda peer, forwarded: address_group(clients.client(peer, (forwarded,)).address)
        if rhoconnect_push.secret is None:
            keeping = await _maintain_ids(
                service, rhoconnect_push, IdSecret(store, settings.data_dir, writes=slot == 0)
            )
        else:
            secret = hashlib.sha256(rhoconnect_push.secret.reveal().encode()).digest()
            service.ids = Ids(secret, weak=rhoconnect_push.accept_unsigned_ids)
        yield await open_service(service, sock, push_context(rhoconnect_push))
    finally:
        if keeping is not None:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
        for authenticator in (users, apps):
            if authenticator is not None:
                await authenticator.close()
        await logins.close()
        await house.close()
        await redis.aclose()


async def _maintain_ids(
    service: PushService, rhoconnect_push: RhoConnectPushSettings, secret: IdSecret
) -> asyncio.Task[None]:
    """Set the ids of the service, now or once there is a secret, and again whenever the secret changes."""

    def use(found: bytes) -> None:
        if service.ids is None:
            _log.info("rhoconnect_push_enabled")
        service.ids = Ids(found, weak=rhoconnect_push.accept_unsigned_ids)

    found = await secret.open()
    if found is not None:
        service.ids = Ids(found, weak=rhoconnect_push.accept_unsigned_ids)
    return run_in_background(partial(secret.maintain, use), "id secret")
