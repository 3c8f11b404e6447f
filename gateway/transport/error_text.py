"""Descriptions of connection errors for operators."""

from gateway.system.network_errors import describe

__all__ = ["describe"]
