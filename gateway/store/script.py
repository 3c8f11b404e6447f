"""Lua scripts that run in Redis."""

import hashlib


class Script:
    """A Lua script. It is called by its digest; its text is sent only to a server that has not cached it."""

    def __init__(self, text: str) -> None:
        self.text = text
        # Redis names scripts by SHA-1; the digest protects nothing.
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
