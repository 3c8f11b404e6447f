"""Scopes of callers."""

from gateway.registry.scopes import API_TOKEN, Scope


def test_the_names_of_the_scopes_are_public() -> None:
    assert [*Scope] == ["ping", "broadcast", "read", "devices", "admin"]


def test_the_api_token_has_every_scope_and_every_app() -> None:
    assert API_TOKEN.scopes == {*Scope}
    assert API_TOKEN.apps is None
