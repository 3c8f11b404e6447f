"""Whether the Sentinels still name the server that a connection leads to.

After a failover that an operator starts, or while a server cannot reach the Sentinels, the former master accepts
writes until the Sentinels make it a replica, some 10 s later; it then loses them. So a connection to a server that the
Sentinels no longer name is closed, and the next one leads to the present master. All connections of a process to that
server are closed together: otherwise some would append pings to a queue that the others no longer read.

The majority of the Sentinels decides: one that is itself cut off names the former master.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Final, TypeAlias

from gateway.store.address import RedisAddress
from gateway.store.client_factory import Node, ask_sentinels

CHECK_S: Final = 2.0
"""Interval at which the Sentinels are asked, once for all connections of a process to one address."""
ELSEWHERE: Final = "the Sentinels name another master"

Watched: TypeAlias = tuple[Node, Callable[[str], None]]
"""A connection: the server that it leads to, and the function that closes it."""

_open: Final[dict[RedisAddress, list[Watched]]] = {}
"""The open connections to each address."""
_seen: Final[dict[RedisAddress, tuple[float, Node | None]]] = {}
"""Time of the last question about each address, and its answer; None: there is none yet, or no majority."""


@contextlib.asynccontextmanager
async def watching_master(
    address: RedisAddress, node: Node, on_elsewhere: Callable[[str], None]
) -> AsyncIterator[None]:
    """While the context is open, call `on_elsewhere` with a reason once most Sentinels name another master than `node`.

    Args:
        address: an address; without Sentinels nothing is checked.
        node: host and port of the server that the connection leads to.
        on_elsewhere: closes the connection.
    """
    if not address.sentinels:
        yield
        return
    watched = node, on_elsewhere
    _open.setdefault(address, []).append(watched)
    task = asyncio.create_task(_watch(address, node), name="redis master")
    try:
        yield
    finally:
        _open[address].remove(watched)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _watch(address: RedisAddress, node: Node) -> None:
    while True:
        await asyncio.sleep(CHECK_S)
        named = await present_master(address)
        if named is not None and named != node and not await _are_one_server(named, node):
            for former, on_elsewhere in tuple(_open[address]):
                if former == node:
                    on_elsewhere(ELSEWHERE)
            return


async def present_master(address: RedisAddress) -> Node | None:
    """The master that most Sentinels named within the last `CHECK_S`; None: unknown."""
    now_s = time.monotonic()
    asked_s, named = _seen.get(address, (float("-inf"), None))
    if now_s - asked_s < CHECK_S:
        return named
    # Another connection does not ask meanwhile, and does not use the former answer.
    _seen[address] = now_s, None
    answers = Counter(await ask_sentinels(address))
    for found, count in answers.items():
        if count * 2 > len(address.sentinels):
            _seen[address] = now_s, found
    return _seen[address][1]


async def _are_one_server(one: Node, other: Node) -> bool:
    """Whether both are addresses of one server: one Sentinel may give its name, and another one its IP address."""
    if one[1] != other[1]:
        return False
    loop = asyncio.get_running_loop()
    try:
        found = [{info[4][0] for info in await loop.getaddrinfo(*node)} for node in (one, other)]
    except (OSError, UnicodeError):
        return True  # unknown: the connection stays
    return not found[0].isdisjoint(found[1])
