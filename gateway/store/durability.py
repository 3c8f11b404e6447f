"""Checks whether Redis provides the durability that `queue.durability` requires, and the warnings for operators."""

import asyncio
from typing import Final, Literal

import structlog
from redis.asyncio import Redis

from gateway.errors import BadSetting
from gateway.store.client_factory import UNKNOWN, ServerFacts, facts

_log = structlog.get_logger("durability")

Durability = Literal["memory", "aof", "fsync", "replicas"]
OLDEST_VERSION: Final = (6, 2)
"""Redis 6.2 introduced XAUTOCLAIM and SMISMEMBER."""
CLUSTER: Final = (
    "this Redis runs in cluster mode; RhoConnect's keys have no hash tags, so a plain Redis or one with Sentinels is "
    "required (a cluster of one node refuses commands on keys of several slots, too)"
)
_POLL_S: Final = 0.2
"""Delay between two checks of a Redis that is loading its data."""


def judge(found: ServerFacts, wanted: Durability) -> tuple[list[str], list[str]]:
    """The problems that prevent startup, and the warnings."""
    refused: list[str] = []
    warned: list[str] = []
    if found.product == "redis" and found.version != UNKNOWN and found.number < OLDEST_VERSION:
        refused.append(f"Redis {found.version} is too old: Redis 6.2 or later, or Valkey, is required")
    if found.cluster:
        refused.append(CLUSTER)
    if not found.master:
        refused.append("this Redis is a replica and does not accept writes")
    if wanted in ("aof", "fsync") and found.append_only is False:
        refused.append(f"queue.durability is {wanted}, but the append-only file is off")
    if wanted == "fsync" and found.append_fsync not in (None, "always"):
        refused.append(f"queue.durability is fsync, but appendfsync is {found.append_fsync}")
    if wanted == "replicas" and not found.replicas:
        refused.append("queue.durability is replicas, but no replica is connected")
    if wanted == "memory" and found.append_only is False:
        warned.append("the append-only file is off: a crash of Redis loses pings that were answered with 200")
    if found.eviction not in (None, "noeviction") and found.memory_max_bytes:
        warned.append(
            f"eviction is {found.eviction}: a full Redis drops pings; set maxmemory-policy noeviction"
        )
    return refused, warned


async def check_durability(redis: Redis, wanted: Durability, setting: str) -> list[str]:
    """Check the server's durability. A server that is loading its data is checked when it has finished.

    Args:
        redis: a client of the server.
        wanted: the required durability.
        setting: the setting with the address of the server, which errors name.

    Returns:
        Warnings for the operator.

    Raises:
        BadSetting: the server does not provide the required durability.
        StoreDown: the server does not answer.
    """
    found = await facts(redis)
    if found.loading:
        _log.warning("redis_loading", advice="the gateway starts serving when the data is loaded")
    while found.loading:
        await asyncio.sleep(_POLL_S)
        found = await facts(redis)
    refused, warned = judge(found, wanted)
    if refused:
        raise BadSetting(f"{setting}: {refused[0]}", field=setting)
    return warned
