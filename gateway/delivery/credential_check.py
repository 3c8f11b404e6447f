"""What settings name as a credential and nobody can send with, found without a connection and before the first ping.

`serve` starts all the same: RhoConnect's own `settings.yml` names a certificate whether or not there is one, and one
app's missing file must not keep the others' pushes back.
"""

from collections.abc import Iterator
from typing import NamedTuple

from gateway.delivery.credentials import read_apns, read_fcm
from gateway.delivery.rhoconnect_push_remote import read_push_server
from gateway.errors import BadSetting, CredentialError
from gateway.settings import ApnsSettings, App, FcmSettings, Settings
from protocols.devices import APNS, FCM, RHOCONNECT_PUSH


class UnusableCredential(NamedTuple):
    """A provider's credential of an app ("": of all that name none of their own), and what is wrong with it."""

    provider: str
    app: str
    error: str


def unusable_credentials(settings: Settings) -> Iterator[UnusableCredential]:
    """Every credential that a ping could not be sent with."""
    above = App(settings.apns, settings.fcm)
    for name, app in {"": above, **settings.apps}.items():
        if name == "" or app.apns != above.apns:
            yield from _complaint(APNS, name, app.apns)
        if name == "" or app.fcm != above.fcm:
            yield from _complaint(FCM, name, app.fcm)
    if settings.rhoconnect_push.mode == "client" and settings.push_server is not None:
        try:
            read_push_server(settings.push_server)
        except BadSetting as error:
            yield UnusableCredential(RHOCONNECT_PUSH, "", error.message)


def _complaint(provider: str, app: str, settings: ApnsSettings | FcmSettings) -> Iterator[UnusableCredential]:
    if not settings.configured:
        return
    try:
        if isinstance(settings, FcmSettings):
            read_fcm(settings)
        else:
            read_apns(settings)
    except CredentialError as error:
        yield UnusableCredential(provider, app, error.message)
