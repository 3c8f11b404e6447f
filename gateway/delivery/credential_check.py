"""Detection of unusable credentials in the settings, without a connection and before the first ping.

`serve` starts despite them: RhoConnect's own `settings.yml` names a certificate whether or not it exists, and a
missing file of one app must not stop the deliveries of the others.
"""

from collections.abc import Iterator
from typing import NamedTuple

from gateway.delivery.provider_registry import Providers, installed
from gateway.errors import BadSetting, CredentialError
from gateway.settings import Settings


class UnusableCredential(NamedTuple):
    """A provider's unusable credential of an app ("": of all apps without one of their own), and the error."""

    provider: str
    app: str
    error: str


def unusable_credentials(
    settings: Settings, providers: Providers | None = None
) -> Iterator[UnusableCredential]:
    """Every credential that no delivery can use; `providers` None: of the installed providers."""
    for provider, app in (installed() if providers is None else providers).credentials(settings):
        try:
            provider.credential(settings, app)
        except (BadSetting, CredentialError) as error:
            yield UnusableCredential(provider.name, app, error.message)
