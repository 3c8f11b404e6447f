"""The object that a provider's entry point names: the facts that a process needs before it sends.

The supervisor reads settings and sends nothing; it must not import the modules that send (TLS, HTTP/2, keys),
which take much memory. Therefore an entry point names a `ProviderEntry` in a module with few imports, and the
entry names the provider's object, which is imported when it is first needed.
"""

from dataclasses import dataclass

from gateway.settings import ProviderSettings


@dataclass(frozen=True, slots=True)
class ProviderEntry:
    """An installed provider.

    Attributes:
        name: the provider's name in settings, metrics, lanes and receipts; a Python identifier in lower case.
        provider: the object that sends, a `gateway.delivery.providers.base.PushProvider`, as `module:NAME`.
        settings_type: the type of its section in the settings; None: it has none.
        device_types: values of a device's `device_push_type` (or, where that is empty, `device_type`) that this
            provider serves, in lower case.
        ping_addition: the meaning of the ping's parameter with the provider's name, which holds raw additions to
            its message, for the OpenAPI document; "": there is no such parameter.
        addition_rule: parses the value of this parameter, a `protocols.ping.overrides.AdditionRule` as
            `module:NAME`; "": any object. Its result is in `Ping.additions`.
        simulation: its simulator, a `gateway.simulators.simulation.Simulation` as `module:NAME`; "": there is
            none.
        demo_device: the class of its device in `rhopush demo`, a `gateway.simulators.demo_device.DemoDevice` as
            `module:NAME`; "": the demo has none.
    """

    name: str
    provider: str
    settings_type: type[ProviderSettings] | None = None
    device_types: tuple[str, ...] = ()
    ping_addition: str = ""
    addition_rule: str = ""
    simulation: str = ""
    demo_device: str = ""
