"""The links to the console's pages, and the callers that see each."""

from typing import Final, NamedTuple

from gateway.console.guard import Visit
from gateway.registry.scopes import Scope


class NavigationLink(NamedTuple):
    """A link to a page.

    Attributes:
        path: of the page.
        text: its name.
        scopes: a caller with none of these scopes does not see the link; empty: every caller sees it.
        limited: whether the page supports callers that are limited to apps.
    """

    path: str
    text: str
    scopes: tuple[Scope, ...]
    limited: bool = False


PING_FORM: Final = (Scope.PING, Scope.BROADCAST, Scope.READ)
"""The form of a ping is for those who may send or explain one; the sender's scope is checked as on the ping routes."""
WEBHOOKS: Final = "/console/webhooks"
DEMO: Final = "/console/demo"
LINKS: Final = (
    NavigationLink("/console", "Overview", (Scope.READ,)),
    NavigationLink("/console/ping", "New ping", PING_FORM, limited=True),
    NavigationLink("/console/pings", "Pings", (Scope.READ,), limited=True),
    NavigationLink("/console/users", "Users", (Scope.READ,)),
    NavigationLink("/console/lanes", "Lanes", (Scope.READ,)),
    NavigationLink(WEBHOOKS, "Webhooks", (Scope.READ,)),
    NavigationLink(DEMO, "Demo", (Scope.READ,)),
    NavigationLink("/console/settings", "Settings", (Scope.READ,)),
    NavigationLink("/console/tokens", "Tokens", (Scope.ADMIN,)),
    NavigationLink("/console/audit", "Audit", (Scope.ADMIN,)),
    NavigationLink("/console/api", "API", (), limited=True),
)
"""All links, in their order."""


def links_of(visit: Visit, absent: frozenset[str] = frozenset()) -> list[NavigationLink]:
    """Return the links that a caller sees.

    Args:
        visit: the caller.
        absent: paths of pages that this gateway does not have.
    """
    return [
        link
        for link in LINKS
        if link.path not in absent
        and (not link.scopes or visit.can(*link.scopes))
        and (link.limited or not visit.limited)
    ]
