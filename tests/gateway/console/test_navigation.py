"""The links that a caller sees."""

import pytest

from gateway.console.guard import Visit
from gateway.console.navigation import DEMO, LINKS, links_of
from gateway.console.sessions import ConsoleSession
from gateway.registry.scopes import Principal, Scope

SESSION = ConsoleSession("token", "ci", "", "csrf")


@pytest.mark.parametrize(
    ("scopes", "apps", "texts"),
    [
        ([Scope.PING], None, ["New ping", "API"]),
        ([Scope.BROADCAST], None, ["New ping", "API"]),
        ([Scope.READ], frozenset({"a"}), ["New ping", "Pings", "API"]),
        ([Scope.READ, Scope.PING], frozenset({"a"}), ["New ping", "Pings", "API"]),
        ([Scope.DEVICES], None, ["API"]),
        ([Scope.ADMIN], None, [link.text for link in LINKS if link.path != DEMO]),
    ],
)
def test_scopes_and_a_limit_to_apps_decide(
    scopes: list[Scope], apps: frozenset[str] | None, texts: list[str]
) -> None:
    visit = Visit(Principal("ci", frozenset(scopes), apps), SESSION, "id")
    assert [link.text for link in links_of(visit, frozenset({DEMO}))] == texts
