"""The rules of the parameters that providers of other packages add."""

import pytest

from gateway.delivery.ping_additions import addition_rules
from gateway.delivery.provider_entry import ProviderEntry
from gateway.delivery.provider_registry import Providers
from gateway.errors import BadProvider
from protocols.errors import InvalidField
from protocols.ping import overrides


def providers(name: str, addition: str = "Additions.", rule: str = "") -> Providers:
    entry = ProviderEntry(name, "", ping_addition=addition, addition_rule=rule)
    return Providers([(entry, f"entry point {name}")])


def test_the_providers_of_the_gateway_have_fields_of_their_own() -> None:
    assert addition_rules() == {}


def test_a_rule_is_imported_and_without_one_any_object_is_taken() -> None:
    assert addition_rules(providers("courier", rule="protocols.ping.overrides:fcm")) == {
        "courier": overrides.fcm
    }
    rule = addition_rules(providers("courier"))["courier"]
    assert rule('{"a": {"b": 1}}', "courier") == {"a": {"b": 1}}
    assert rule({}, "courier") is None
    with pytest.raises(InvalidField, match="courier"):
        rule([1], "courier")


def test_a_provider_without_a_description_has_no_parameter() -> None:
    assert addition_rules(providers("courier", addition="", rule="protocols.ping.overrides:fcm")) == {}


@pytest.mark.parametrize("name", ["message", "explain", "idempotency_key"])
def test_a_parameter_of_every_ping_is_not_taken_over(name: str) -> None:
    with pytest.raises(BadProvider, match=name):
        addition_rules(providers(name))


def test_a_rule_that_cannot_be_imported_is_named() -> None:
    with pytest.raises(BadProvider, match="entry point courier: courier_that_is_none:rule"):
        addition_rules(providers("courier", rule="courier_that_is_none:rule"))
