"""The dependencies of the HTTP API, and time limits of callers."""

import msgspec
import pytest
from redis.asyncio import Redis

from gateway.http_api.dependencies import HttpTimeouts
from gateway.settings import LimitSettings
from tests.gateway.http_api.harness import house


@pytest.mark.parametrize(
    ("came", "authenticated", "patience_s"), [(0, True, 30.0), (131_072, True, 32.0), (131_072, False, 10.0)]
)
def test_the_time_limit_of_a_body_grows_with_the_received_bytes(
    came: int, authenticated: bool, patience_s: float
) -> None:
    assert HttpTimeouts().body_patience_s(came, authenticated=authenticated) == patience_s


async def test_the_limits_of_the_settings_hold_from_the_start_and_after_a_change(redis_client: Redis) -> None:
    async with house(redis_client) as found:
        services = found.services
        assert services.bodies.limit == services.settings.limits.bodies_bytes
        changed = msgspec.structs.replace(
            services.settings, limits=LimitSettings(bodies_bytes=1_000_000, connections=7)
        )
        services.apply_settings(changed)
        assert services.settings is changed
        assert (services.bodies.limit, services.connections.setting) == (1_000_000, 7)
