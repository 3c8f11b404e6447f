"""Callers of the HTTP API and their scopes."""

from collections.abc import Collection
from enum import StrEnum
from typing import Final, NamedTuple

from gateway.errors import ScopeMissing


class Scope(StrEnum):
    """One permission of a caller.

    Attributes:
        PING: send pings to at most 10,000 users, and cancel pings.
        BROADCAST: send pings to all users, or to more than 10,000.
        READ: read and explain pings; read devices, lanes, the queue and the settings.
        DEVICES: read and change users other than admins, and all users' devices; lift marks of dead tokens.
        ADMIN: everything, including tokens, the audit and changes of the queue.
    """

    PING = "ping"
    BROADCAST = "broadcast"
    READ = "read"
    DEVICES = "devices"
    ADMIN = "admin"


class Principal(NamedTuple):
    """An authenticated caller.

    Attributes:
        name: of the token or login, for the audit; "api_token" for the token of the settings.
        scopes: what the caller may do.
        apps: the apps to which the caller is limited; None: all.
        fingerprint: identifies the named token of the caller, and a token of the same name that replaced it differs;
            "": the caller has no named token. A session made from the token carries it
            (`HandlerContext.principal_still_valid`).
    """

    name: str
    scopes: frozenset[Scope]
    apps: frozenset[str] | None = None
    fingerprint: str = ""


ALL_SCOPES: Final = frozenset(Scope)
API_TOKEN: Final = Principal("api_token", ALL_SCOPES)
"""The caller with RhoConnect's own API token, which has every scope."""


def is_visible(of: Collection[str] | None, apps: frozenset[str] | None) -> bool:
    """Return whether a caller that is limited to `apps` may read what concerns the apps `of`; None: all apps."""
    return apps is None or (of is not None and apps.issuperset(of))


def require_any_scope(principal: Principal, *scopes: Scope) -> None:
    """Require that a caller has one of some scopes.

    Raises:
        ScopeMissing: the caller has none of them; the error names the first.
    """
    if not principal.scopes.intersection(scopes):
        require_scope(principal, scopes[0])


def require_scope(principal: Principal, scope: Scope) -> None:
    """Require that a caller has a scope; `admin` includes all others.

    Raises:
        ScopeMissing: the caller lacks it.
    """
    if scope not in principal.scopes and Scope.ADMIN not in principal.scopes:
        raise ScopeMissing(f"{principal.name} lacks the scope {scope}", field=scope.value)
