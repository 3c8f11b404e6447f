"""A simulated provider, and settings that name it."""

from tests.gateway.fanout.conftest import apns, settings

__all__ = ["apns", "settings"]
