"""The state that the aiohttp routes share: stores, authentication and sessions."""

import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from gateway.errors import ApiTokenRefused, NotAuthenticated, RhoPushError
from gateway.http_api.admission import PingAdmission
from gateway.http_api.aiohttp_handler import trust
from gateway.http_api.client_address import address_group, client_address, used_tls
from gateway.http_api.dependencies import Dependencies
from gateway.http_api.requests import API_HEADER, cookie, text_of
from gateway.http_api.sessions import COOKIE, LIFETIME_S, Session, SharedSessions
from gateway.http_api.token_cache import TokenCache, TokenGrant, is_valid, principal_of
from gateway.registry.accounts import Accounts, User
from gateway.registry.audit_log import DONE, AuditRecord
from gateway.registry.clients import Clients
from gateway.registry.hashing import HASHES_AT_ONCE
from gateway.registry.scopes import ALL_SCOPES, Principal, Scope, require_scope


class HandlerContext:
    """The state shared by the routes.

    Args:
        services: the services behind the HTTP API.
    """

    def __init__(self, services: Dependencies) -> None:
        settings = services.settings
        self.services = services
        self.accounts = Accounts(
            services.redis,
            api_token=services.api_token,
            admin_password=settings.admin_password,
            owns_store=services.owns_store,
            reserved=services.reserved_redis,
            hashes_at_once=_hashes_at_once(services.workers),
            mailbox=services.mailbox,
        )
        self.clients = Clients(
            services.redis,
            services.now,
            most=lambda: services.settings.limits.devices_per_user,
            mailbox=services.mailbox,
        )
        named_tokens = services.named_tokens
        self.tokens = TokenCache(
            self.accounts.token_role,
            self.accounts.token_roles,
            is_configured=self.accounts.is_configured,
            find_named=None if named_tokens is None else named_tokens.find,
        )
        self.admission = PingAdmission(services, self.tokens)
        self._sessions = SharedSessions(self.accounts.session_secret)
        self._further: list[Callable[[], Awaitable[None]]] = []

    def close_with(self, close: Callable[[], Awaitable[None]]) -> None:
        """Call `close` at the end, for look-ups of further routes."""
        self._further.append(close)

    async def close(self) -> None:
        """Cancel look-ups and logins whose callers have disconnected."""
        for close in self._further:
            await close()
        await self.tokens.close()
        await self.accounts.close()

    # -- authentication --------------------------------------------------------------------------------------

    async def token_grant(self, request: web.Request, found: Mapping[str, Any]) -> TokenGrant:
        """Return what the caller's API tokens grant."""
        parameter = found.get("api_token")
        header = request.headers.get(API_HEADER, "")
        found_token = parameter if isinstance(parameter, str) else ""
        grant = await self.tokens.resolve(header, found_token, client_of(request))
        if is_valid(grant):
            trust(request)
        return grant

    async def token_principal(self, request: web.Request, found: Mapping[str, Any]) -> Principal:
        """Return the caller that has the API token of a request.

        Raises:
            ApiTokenRefused: the token is neither an admin's nor a named one; the text is RhoConnect's (contract §1.1).
        """
        return principal_of(await self.token_grant(request, found))

    async def principal_of(self, request: web.Request, found: Mapping[str, Any]) -> Principal:
        """Return the caller of a request: by its API token, or else by its admin's session.

        Args:
            request: the request.
            found: its parameters.

        Raises:
            ApiTokenRefused: the request has neither.
        """
        try:
            return await self.token_principal(request, found)
        except ApiTokenRefused:
            session = await self._session(request)
            user = None if session is None or not session.admin else await self._user_of(session, request)
            if user is None or not user.admin:
                raise
            return Principal(user.login, ALL_SCOPES)

    async def principal_still_valid(self, name: str, fingerprint: str) -> Principal | None:
        """Return the caller with a named token, for a session that was made from it; None: the session has ended.

        The token is read from Redis at each call, so that its revocation ends its sessions at once.

        Args:
            name: `Principal.name` at the time of the login.
            fingerprint: `Principal.fingerprint` at that time; not "".

        Raises:
            StoreDown: Redis does not answer.
        """
        named_tokens = self.services.named_tokens
        if named_tokens is None or not fingerprint:
            return None
        (found,) = await named_tokens.find_digests([fingerprint])
        return found if found is not None and found.name == name else None

    async def require_scope(self, request: web.Request, found: Mapping[str, Any], scope: Scope) -> Principal:
        """Require a caller that has `scope`, and return the caller.

        Raises:
            ApiTokenRefused: the request has no valid token and no session.
            ScopeMissing: the caller lacks the scope.
        """
        principal = await self.principal_of(request, found)
        require_scope(principal, scope)
        return principal

    async def audit(self, request: web.Request, caller: Principal, action: str, outcome: str = DONE) -> None:
        """Record an action of a caller; it raises nothing.

        Args:
            request: the request that caused the action.
            caller: the caller.
            action: method and path of the route.
            outcome: `DONE`, or the code of an error.
        """
        if self.services.audit_log is not None:
            record = AuditRecord.of(caller, client_address(request), action, outcome)
            await self.services.audit_log.record(record)

    @contextlib.asynccontextmanager
    async def audited(self, request: web.Request, caller: Principal, action: str) -> AsyncIterator[None]:
        """Record an action with its outcome at the end of the block. The arguments are those of `audit`."""
        outcome = RhoPushError.code
        try:
            yield
            outcome = DONE
        except RhoPushError as error:
            outcome = error.code
            raise
        finally:
            await self.audit(request, caller, action, outcome)

    async def audit_login(self, request: web.Request, login: str, outcome: str = DONE) -> None:
        """Record a login of an operator, or its refusal; it raises nothing. The arguments are those of `audit`.

        Args:
            login: the name that the caller gave.
        """
        if self.services.audit_log is not None:
            address = client_address(request)
            await self.services.audit_log.record_login(login, address, outcome, group=address_group(address))

    async def require_device(self, request: web.Request) -> User:
        """Return the user whose device sent the request.

        Raises:
            NotAuthenticated: there is no session, or it has expired (contract §2.1).
        """
        session = await self._session(request)
        user = None if session is None else await self._user_of(session, request)
        if user is None:
            raise NotAuthenticated("Not authenticated")
        return user

    async def _user_of(self, session: Session, request: web.Request) -> User | None:
        user = await self.accounts.session_user(session.login, session.fingerprint, client_of(request))
        if user is not None:
            trust(request)
        return user

    async def _session(self, request: web.Request) -> Session | None:
        value = cookie(request, COOKIE)
        if not value and request.path.startswith("/api/application/"):  # contract §2.1
            value = unquote(request.query.get(COOKIE, "")).removeprefix(f"{COOKIE}=")
        if not value:
            return None
        return await self._sessions.read(value, self.services.now())

    # -- sessions --------------------------------------------------------------------------------------------

    async def begin_session(
        self, request: web.Request, response: web.Response, user: User, *, admin: bool
    ) -> str:
        """Create a session cookie for the caller; returns its value.

        The browser sends an admin's cookie with no cross-site request. A device's cookie has no such restriction, since
        RhoConnect accepts those too. The cookie is Secure if the client used TLS, so that it is never sent without TLS.
        """
        until_s = int(self.services.now()) + LIFETIME_S
        session = Session(user.login, user.fingerprint, until_s, admin)
        value = await self._sessions.issue(session)
        response.set_cookie(
            COOKIE,
            value,
            path="/",
            max_age=LIFETIME_S,
            secure=used_tls(request),
            httponly=True,
            samesite="Strict" if admin else "Lax",
        )
        return value

    async def credentials(self, request: web.Request, found: dict[str, Any]) -> tuple[str, User | None]:
        """Return the login in a request, and its user if the password is correct.

        Raises:
            TooManyRequests: too many recent failures.
            AuthenticationBusy: too many clients log in.
        """
        login = text_of(found, "login")
        return login, await self.accounts.login(login, text_of(found, "password"), client_of(request))


def client_of(request: web.Request) -> str:
    """Return the client to which a request counts: its address, or the /64 of an IPv6 address."""
    return address_group(client_address(request))


def _hashes_at_once(workers: int) -> int:
    """Number of passwords that one of `workers` processes hashes at once, such that together they leave a core free."""
    return max(1, min(HASHES_AT_ONCE, (os.cpu_count() or 1) // workers))
