"""A provider to send to, and the settings that say so."""

from tests.gateway.fanout.conftest import apns, settings

__all__ = ["apns", "settings"]
