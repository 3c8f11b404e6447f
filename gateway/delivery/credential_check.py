"""What settings name as a credential and nobody can send with, found without a connection and before the first ping.

`serve` starts all the same: RhoConnect's own `settings.yml` names a certificate whether or not there is one, and one
app's missing file must not keep the others' pushes back.
"""

from collections.abc import Iterator
from typing import NamedTuple

from gateway.delivery.provider_registry import Providers, installed
from gateway.errors import BadSetting, CredentialError
from gateway.settings import Settings


class UnusableCredential(NamedTuple):
    """A provider's credential of an app ("": of all that name none of their own), and what is wrong with it."""

    provider: str
    app: str
    error: str


def unusable_credentials(
    settings: Settings, providers: Providers | None = None
) -> Iterator[UnusableCredential]:
    """Every credential that a ping could not be sent with; `providers` None: of the installed providers."""
    for provider, app in (installed() if providers is None else providers).credentials(settings):
        try:
            provider.credential(settings, app)
        except (BadSetting, CredentialError) as error:
            yield UnusableCredential(provider.name, app, error.message)
