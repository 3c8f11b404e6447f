"""Responses of other servers, of which a bounded part is read."""

from typing import Final

import aiohttp

ANSWER_BYTES: Final = 65_536
"""Most bytes of a response that are read: statuses decide, and a body can be endless."""


async def read_start(response: aiohttp.ClientResponse) -> bytes:
    """Return the beginning of a response's body: all of it up to `ANSWER_BYTES`, so that its connection can be reused.
    The connection of a longer response is closed.

    Raises:
        aiohttp.ClientError, OSError, TimeoutError: the response does not arrive.
    """
    found = b""
    while len(found) < ANSWER_BYTES:
        part = await response.content.read(ANSWER_BYTES - len(found))
        if not part:
            break
        found += part
    return found
