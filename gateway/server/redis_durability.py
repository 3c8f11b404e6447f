"""Check of the durability of the queue's Redis: at the start, and every 10 s from then on.

A failover may lead to a server with another configuration, an operator may change the configuration of a running
server, and replicas may disconnect.
"""

from typing import Final

import structlog

from gateway.errors import StoreDown, StoreRefused
from gateway.metrics import Metrics
from gateway.settings import Settings
from gateway.store.address import queue_address
from gateway.store.client_factory import client, facts
from gateway.store.durability import check_durability, judge

_log = structlog.get_logger("durability")

EVERY_S: Final = 10.0
"""Interval of the checks."""


class RedisDurability:
    """The durability that the queue's Redis provided at the last check.

    Args:
        settings: the current settings.
        metrics: receive the result.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._refused: tuple[str, ...] = ()
        self._warned: frozenset[str] = frozenset()

    def apply_settings(self, settings: Settings) -> None:
        """Apply new settings."""
        self._settings = settings

    @property
    def problem(self) -> tuple[str, str] | None:
        """The setting with the address of the queue's Redis, and what that server lacks; None: nothing."""
        return (self._setting, self._refused[0]) if self._refused else None

    @property
    def _setting(self) -> str:
        return "redis" if self._settings.queue.redis is None else "queue.redis"

    async def require(self) -> None:
        """Run the first check, after a Redis that is loading its data has loaded them.

        Raises:
            BadSetting: Redis does not provide the durability.
            StoreDown: Redis does not answer.
            StoreRefused: Redis refuses the connection.
        """
        address = queue_address(self._settings)
        redis = client(address)
        try:
            warned = await check_durability(redis, self._settings.queue.durability, self._setting)
        except StoreDown as error:
            kind = StoreRefused if isinstance(error, StoreRefused) else StoreDown
            raise kind(f"{self._setting} ({address}): {error.message}") from error
        finally:
            await redis.aclose()
        self._record([], warned)

    async def check(self) -> None:
        """Check again, and log what changed.

        The result of the last check stays while Redis is loading its data or is a replica, which
        `gateway.store.health` reports.

        Raises:
            StoreDown: Redis does not answer; the result of the last check stays.
        """
        redis = client(queue_address(self._settings))
        try:
            found = await facts(redis)
        finally:
            await redis.aclose()
        if found.master and not found.loading:
            self._record(*judge(found, self._settings.queue.durability))

    def _record(self, refused: list[str], warned: list[str]) -> None:
        for text in set(refused) - set(self._refused):
            _log.error("durability_lost", text=text)
        for text in set(self._refused) - set(refused):
            _log.info("durability_restored", text=text)
        for text in set(warned) - self._warned:
            _log.warning("durability_not_guaranteed", text=text)
        self._refused, self._warned = tuple(refused), frozenset(warned)
        self._metrics.durability_missing.set(1 if refused else 0)
