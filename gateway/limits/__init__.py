"""Limits of one process that several listeners share: bytes of request bodies, HTTP connections."""
