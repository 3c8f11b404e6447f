"""The parameters of a ping that hold raw additions to the messages of one provider, as its entry declares them.

The parameters of APNs and FCM have fields of their own in `Ping`, and their rules are a part of the parser. Those of
providers of other packages are in `Ping.additions`, and the parser gets their rules as an argument.
"""

from gateway.delivery.provider_entry import ProviderEntry
from gateway.delivery.provider_registry import Providers, installed
from gateway.errors import BadProvider
from protocols.ping.overrides import BUILT_IN, AdditionRule, plain
from protocols.ping.parse import PARAMETERS


def addition_rules(providers: Providers | None = None) -> dict[str, AdditionRule]:
    """The rules of the parameters that providers of other packages add, by the name of the parameter.

    Args:
        providers: providers with such parameters; None: the installed providers.

    Raises:
        BadProvider: a rule cannot be imported, or a ping has a parameter with the provider's name already.
    """
    known = installed() if providers is None else providers
    return {
        name: _rule_of(entry, known)
        for name, entry in known.entries.items()
        if entry.ping_addition and name not in BUILT_IN
    }


def _rule_of(entry: ProviderEntry, providers: Providers) -> AdditionRule:
    if entry.name in PARAMETERS:
        raise BadProvider(f"the provider {entry.name!r} has the name of a parameter of a ping")
    if not entry.addition_rule:
        return plain
    rule: AdditionRule = providers.object_of(entry.name, entry.addition_rule)
    return rule
