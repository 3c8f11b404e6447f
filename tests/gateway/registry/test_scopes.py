"""Scopes of callers."""

from contextlib import suppress

import pytest

from gateway.errors import ScopeMissing
from gateway.registry.scopes import ALL_SCOPES, API_TOKEN, Principal, Scope, require_scope


def test_the_names_of_the_scopes_are_public() -> None:
    assert [*Scope] == ["ping", "broadcast", "read", "devices", "admin"]


def test_the_api_token_has_every_scope_and_every_app() -> None:
    assert API_TOKEN.scopes == {*Scope}
    assert API_TOKEN.apps is None


def permitted(principal: Principal) -> list[Scope]:
    """The scopes that a caller is permitted to use."""
    found = []
    for scope in Scope:
        with suppress(ScopeMissing):
            require_scope(principal, scope)
            found.append(scope)
    return found


@pytest.mark.parametrize("scope", [scope for scope in Scope if scope is not Scope.ADMIN])
def test_a_caller_has_its_scope_alone(scope: Scope) -> None:
    assert permitted(Principal("ci", frozenset({scope}))) == [scope]


@pytest.mark.parametrize("scope", Scope)
def test_a_missing_scope_is_refused_by_name(scope: Scope) -> None:
    others = ALL_SCOPES - {scope, Scope.ADMIN}
    with pytest.raises(ScopeMissing) as caught:
        require_scope(Principal("ci", others), scope)
    assert (caught.value.status, caught.value.code, caught.value.field) == (403, "scope_missing", scope.value)
    assert scope.value in caught.value.message


@pytest.mark.parametrize("principal", [Principal("root", frozenset({Scope.ADMIN})), API_TOKEN])
def test_admin_includes_every_scope(principal: Principal) -> None:
    assert permitted(principal) == [*Scope]
