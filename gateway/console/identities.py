"""Checks of the console's callers: at the login, and again at each request of a session."""

from typing import Final

from gateway.console.sessions import ConsoleSession
from gateway.http_api.context import HandlerContext
from gateway.http_api.token_cache import is_valid, principal_of
from gateway.registry.accounts import User
from gateway.registry.scopes import ALL_SCOPES, Principal

_ACCOUNT: Final = "console"


class Identities:
    """Checks API tokens and admin accounts.

    Args:
        context: the state shared by the routes.
    """

    def __init__(self, context: HandlerContext) -> None:
        self._context = context

    async def log_in_by_token(self, token: str, client: str) -> Principal | None:
        """Return the caller of an API token, within the limits of login attempts; None: the token is not valid.

        Raises:
            TooManyRequests: this client had too many failures lately.
            AuthenticationBusy: too many clients log in.
            StoreDown: Redis does not answer.
        """
        principal = await self._by_token(token, client)
        valid = await self._context.accounts.check_secret(_ACCOUNT, principal is not None, client)
        return principal if valid else None

    async def log_in_by_password(self, login: str, password: str, client: str) -> User | None:
        """Return the admin account of a login and its password; None: there is none, or it is not an admin's.

        Raises: as `log_in_by_token`.
        """
        user = await self._context.accounts.login(login, password, client)
        return user if user is not None and user.admin else None

    async def of_session(self, session: ConsoleSession, client: str) -> Principal | None:
        """Return the caller of a session; None: its token was revoked, or its account or password changed.

        Raises:
            AuthenticationBusy: too many look-ups wait.
            StoreDown: Redis does not answer.
        """
        if session.kind == "api_token":
            return await self._by_token(session.secret, client)
        if session.kind == "token":
            return await self._context.principal_still_valid(session.name, session.secret)
        user = await self._context.accounts.session_user(session.name, session.secret, client)
        return Principal(user.login, ALL_SCOPES) if user is not None and user.admin else None

    async def _by_token(self, token: str, client: str) -> Principal | None:
        grant = await self._context.tokens.role(token, client)
        return principal_of(grant) if is_valid(grant) else None
