"""Expiry of certificates: exported once a minute, and logged as a warning a month, a week and a day before.

A p8 key and a service account do not expire, so only certificates are monitored. They are read even before their
first use: the certificate of an app that pings once a month would otherwise expire unnoticed.
"""

import math
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
"""A certificate is renewed by hand: a month to find the responsible person, a week to do it, a day for the last
moment."""
_EVERY_S: Final = 60.0


class CertificateExpiry(NamedTuple):
    """A certificate of an app ("": of all apps without one of their own), and the epoch seconds of its expiry."""

    app: str
    topic: str
    expires_s: float
    provider: str


def warnings_due(left_s: float) -> int:
    """Number of warnings that are due when this many seconds are left."""
    return sum(left_s <= days * DAY_S for days in WARN_DAYS)


class CertificateExpiryMonitor:
    """Monitors the expiry of all certificates in the settings.

    Args:
        settings: the settings in force.
        metrics: exports the remaining time.
        providers: providers whose credentials are read; None: the installed providers.
    """

    def __init__(self, settings: Settings, metrics: Metrics, providers: Providers | None = None) -> None:
        self._metrics = metrics
        self._providers = installed() if providers is None else providers
        self._warned: dict[CertificateExpiry, int] = {}
        """Number of warnings that were logged about each certificate."""
        self.apply_settings(settings)

    def apply_settings(self, settings: Settings) -> None:
        """Read the certificates of new settings. Warnings about an unchanged certificate are not repeated.

        A certificate that is no longer in use gets an infinite remaining time: the last one would remain exported, with
        its alert. One whose file cannot be read any longer stays: its lane keeps it.
        """
        endings = list(certificate_expiries(settings, self._providers))
        labels = {(expiry.app, expiry.provider) for expiry in endings}
        for expiry in self._warned:
            if (expiry.app, expiry.provider) in labels:
                continue
            if self._is_unreadable(settings, expiry):
                endings.append(expiry)
            else:
                self._metrics.credential_expiry_seconds(expiry.app, expiry.provider).set(math.inf)
        self._warned = {expiry: self._warned.get(expiry, 0) for expiry in endings}
        self._told_at = -_EVERY_S

    def _is_unreadable(self, settings: Settings, expiry: CertificateExpiry) -> bool:
        """Whether the settings have a credential in place of this certificate that cannot be read."""
        provider = self._providers.get(expiry.provider)
        if provider is None or (expiry.app and expiry.app not in settings.apps):
            return False
        try:
            provider.expiry(settings, expiry.app)
        except CredentialError:
            return True
        return False

    def update(self, now_s: float) -> None:
        """Export the remaining time and log due warnings, once a minute however often this is called."""
        if abs(now_s - self._told_at) < _EVERY_S:
            return
        self._told_at = now_s
        for expiry, warned in self._warned.items():
            left_s = expiry.expires_s - now_s
            self._metrics.credential_expiry_seconds(expiry.app, expiry.provider).set(left_s)
            due = self._warned[expiry] = warnings_due(left_s)  # fewer than before: the clock was or is wrong
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


def certificate_expiries(settings: Settings, providers: Providers) -> Iterator[CertificateExpiry]:
    """Yield the expiry of each certificate in the settings. A certificate that cannot be read is omitted."""
    for provider, app in providers.credentials(settings):
        try:
            expiry = provider.expiry(settings, app)
        except CredentialError:
            continue  # the lane reports this error when it is made
        if expiry is not None:
            yield CertificateExpiry(app, expiry.topic, expiry.expires_s, provider.name)
