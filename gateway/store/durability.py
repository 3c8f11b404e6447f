"""Whether Redis keeps what `queue.durability` promises, and what an operator should know before a 200 is trusted."""

import asyncio
from typing import Final, Literal

import structlog
from redis.asyncio import Redis

from gateway.errors import BadSetting
from gateway.store.client_factory import UNKNOWN, ServerFacts, facts

_log = structlog.get_logger("durability")

Durability = Literal["memory", "aof", "fsync", "replicas"]
OLDEST_VERSION: Final = (6, 2)
"""XAUTOCLAIM and SMISMEMBER came with Redis 6.2."""
CLUSTER: Final = (
    "this Redis runs in cluster mode; RhoConnect's keys have no hash tags, so a plain Redis or one with Sentinels is "
    "needed (a cluster of one node refuses commands on keys of several slots, too)"
)
_POLL_S: Final = 0.2
"""Between two looks at a Redis that loads."""


def judge(found: ServerFacts, wanted: Durability) -> tuple[list[str], list[str]]:
    """What forbids to start, and what is only warned about."""
    refused: list[str] = []
    warned: list[str] = []
    if found.product == "redis" and found.version != UNKNOWN and found.number < OLDEST_VERSION:
        refused.append(f"Redis {found.version} is too old: 6.2 or Valkey is needed")
    if found.cluster:
        refused.append(CLUSTER)
    if not found.master:
        refused.append("this Redis is a replica and takes no writes")
    if wanted in ("aof", "fsync") and found.append_only is False:
        refused.append(f"queue.durability is {wanted}, but the append-only file is off")
    if wanted == "fsync" and found.append_fsync not in (None, "always"):
        refused.append(f"queue.durability is fsync, but appendfsync is {found.append_fsync}")
    if wanted == "replicas" and not found.replicas:
        refused.append("queue.durability is replicas, but no replica is connected")
    if wanted == "memory" and found.append_only is False:
        warned.append(
            "the append-only file is off: the death of Redis loses pings that were answered with 200"
        )
    if found.eviction not in (None, "noeviction") and found.memory_max_bytes:
        warned.append(
            f"eviction is {found.eviction}: a full Redis drops pings; set maxmemory-policy noeviction"
        )
    return refused, warned


async def check_durability(redis: Redis, wanted: Durability) -> list[str]:
    """Look at the server; at one that loads its data as soon as it has.

    Returns:
        What an operator is warned of.

    Raises:
        BadSetting: it does not keep what is wanted.
        StoreDown: it does not answer.
    """
    found = await facts(redis)
    if found.loading:
        _log.warning("redis_loading", advice="the doors open when it has its data")
    while found.loading:
        await asyncio.sleep(_POLL_S)
        found = await facts(redis)
    refused, warned = judge(found, wanted)
    if refused:
        raise BadSetting(f"queue.redis: {refused[0]}", field="queue.redis")
    return warned
