"""When certificates end: exported once a minute, and warned about a month, a week and a day before.

A p8 key and a service account do not end, so only certificates are watched. They are read whether or not
anything was sent with them yet: the app that pings once a month is the one whose certificate ends unseen.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

import structlog

from gateway.delivery.provider_registry import Providers, installed
from gateway.errors import CredentialError
from gateway.metrics import Metrics
from gateway.settings import Settings

_log = structlog.get_logger("credentials")

DAY_S: Final = 86_400.0
WARN_DAYS: Final = (30, 7, 1, 0)
"""A certificate is renewed by hand: a month to find who may, a week to do it, a day to drop everything else."""
_EVERY_S: Final = 60.0


class CertificateExpiry(NamedTuple):
    """A certificate of an app ("": of all that name none of their own), and the epoch seconds of its end."""

    app: str
    topic: str
    expires_s: float
    provider: str


def warnings_due(left_s: float) -> int:
    """How many of the warnings are due when so much time is left."""
    return sum(left_s <= days * DAY_S for days in WARN_DAYS)


class CertificateExpiryMonitor:
    """The ends of all certificates that the settings name.

    Args:
        settings: those in force.
        metrics: where the time left is exported.
        providers: whose credentials are read; None: the installed providers'.
    """

    def __init__(self, settings: Settings, metrics: Metrics, providers: Providers | None = None) -> None:
        self._metrics = metrics
        self._providers = installed() if providers is None else providers
        self._warned: dict[CertificateExpiry, int] = {}
        self.apply_settings(settings)

    def apply_settings(self, settings: Settings) -> None:
        """Read the certificates of new settings. What is said about one that stays is not said again."""
        endings = list(_certificate_expiries(settings, self._providers))
        self._warned = {expiry: self._warned.get(expiry, 0) for expiry in endings}
        self._told_at = -_EVERY_S

    def update(self, now_s: float) -> None:
        """Called as often as one likes; once a minute it exports the time left, and warns where that is due."""
        if abs(now_s - self._told_at) < _EVERY_S:
            return
        self._told_at = now_s
        for expiry, warned in self._warned.items():
            left_s = expiry.expires_s - now_s
            self._metrics.credential_expiry_seconds(expiry.app, expiry.provider).set(left_s)
            due = self._warned[expiry] = warnings_due(
                left_s
            )  # fewer than before: the clock was wrong, or is now
            if due > warned:
                self._warn(expiry, left_s)

    def _warn(self, expiry: CertificateExpiry, left_s: float) -> None:
        days = int(left_s // DAY_S)
        if left_s <= 0:
            _log.error("certificate_expired", app=expiry.app, topic=expiry.topic, days=days)
        elif left_s <= DAY_S:
            _log.error("certificate_expiry_near", app=expiry.app, topic=expiry.topic, days=days)
        else:
            _log.warning("certificate_expiry_near", app=expiry.app, topic=expiry.topic, days=days)


def _certificate_expiries(settings: Settings, providers: Providers) -> Iterator[CertificateExpiry]:
    for provider, app in providers.credentials(settings):
        try:
            expiry = provider.expiry(settings, app)
        except CredentialError:
            continue  # the lane says so when it is made
        if expiry is not None:
            yield CertificateExpiry(app, expiry.topic, expiry.expires_s, provider.name)
