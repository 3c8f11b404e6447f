"""The type of a header field, as HTTP/2 carries it and as messages, answers and simulators hold it."""

Header = tuple[bytes, bytes]
"""Name in lower case, and value (RFC 9113 §8.2)."""
