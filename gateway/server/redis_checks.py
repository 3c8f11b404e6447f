"""The checks of Redis that run at the start of a worker and repeatedly from then on."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from gateway.metrics import Metrics
from gateway.server import redis_durability, redis_permissions
from gateway.server.redis_durability import RedisDurability
from gateway.server.redis_permissions import RedisPermissions
from gateway.settings import Settings


class RedisChecks:
    """The durability of the queue's Redis, and the permissions of the gateway's users.

    Args:
        settings: the current settings.
        metrics: receive the results.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._durability = RedisDurability(settings, metrics)
        self._permissions = RedisPermissions(settings)

    def apply_settings(self, settings: Settings) -> None:
        """Apply new settings."""
        self._durability.apply_settings(settings)
        self._permissions.apply_settings(settings)

    @property
    def repeated(self) -> Sequence[tuple[Callable[[], Awaitable[None]], float]]:
        """The checks, each with its interval in seconds."""
        return (
            (self._durability.check, redis_durability.EVERY_S),
            (self._permissions.check, redis_permissions.EVERY_S),
        )

    @property
    def problems(self) -> Mapping[str, str]:
        """Problems that keep this gateway from working as its settings require, by setting; empty: none."""
        lacking = self._durability.problem
        durability = {} if lacking is None else {lacking[0]: lacking[1]}
        return durability | dict(self._permissions.problems)

    async def require(self) -> None:
        """Run the first checks.

        Raises:
            BadSetting: Redis does not provide the durability, or refuses a command that every gateway needs.
            StoreDown: Redis does not answer.
        """
        await self._durability.require()
        await self._permissions.require()
