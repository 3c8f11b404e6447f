"""What goes wrong with a connection, in words for an operator."""

from gateway.system.network_errors import describe

__all__ = ["describe"]
