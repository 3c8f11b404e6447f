"""The probe of required commands against real servers, with limited users and in cluster mode."""

from typing import Final

import pytest
from redis.asyncio import Redis

from gateway.errors import BadSetting, StoreRefused
from gateway.settings import Secret, Settings
from gateway.store.address import RedisAddress
from gateway.store.command_probe import refused_by, require_commands, uses
from gateway.store.durability import CLUSTER
from tests.gateway.store.test_required_commands import found
from tests.support.redis import KINDS, RedisServer
from tests.support.worker_core import until


async def test_a_plain_server_accepts_all_commands_and_stores_nothing(
    redis_address: str, redis_client: Redis
) -> None:
    await redis_client.config_resetstat()
    assert await found(redis_address) == []
    assert await redis_client.keys() == []
    stats = await redis_client.info("commandstats")
    assert stats["cmdstat_discard"]["calls"] == 1
    assert not {"cmdstat_xadd", "cmdstat_incr", "cmdstat_config|set"} & stats.keys()


def as_user(address: str, user: str) -> str:
    """The address of a unix socket, with an ACL user whose password is `pw`."""
    return address.replace("unix://", f"unix://{user}:pw@")


async def make_user(redis: Redis, name: str, *rules: str) -> None:
    await redis.execute_command("ACL", "SETUSER", name, "reset", "on", ">pw", *rules)


STREAMS: Final = {"XACK", "XADD", "XAUTOCLAIM", "XCLAIM", "XDEL", "XLEN", "XPENDING", "XRANGE", "XREADGROUP"}

LIMITED: Final = {
    "no-xadd": (("~*", "&*", "+@all", "-xadd"), {"XADD"}, True),
    "no-streams": (("~*", "&*", "+@all", "-@stream"), STREAMS, True),
    "no-scripts": (("~*", "&*", "+@all", "-@scripting"), {"EVAL", "EVALSHA"}, True),
    "no-script-command": (("~*", "&*", "+@all", "-script"), set(), None),
    "no-queue-keys": (("~user:*", "~client:*", "&*", "+@all"), {"XADD", "GET", "HSET"}, True),
    "no-users": (("~rhopush:*", "~client:*", "&*", "+@all"), {"SMEMBERS", "MGET"}, True),
    "no-dangerous": (("~*", "&*", "+@all", "-@dangerous"), {"INFO", "SORT", "CONFIG GET"}, False),
    "no-exec": (("~*", "&*", "+@all", "-exec"), {"EXEC"}, False),
    "no-channels": (("~*", "resetchannels", "+@all"), {"SUBSCRIBE news", "PUBLISH rhopush:rps:wake"}, False),
    "no-client": (("~*", "&*", "+@all", "-client"), {"CLIENT TRACKING", "CLIENT SETNAME"}, False),
    "no-sort": (("~rhopush:*", "~user:*", "~client:*", "~api_token:*", "&*", "+@all"), {"SORT"}, False),
}


@pytest.mark.parametrize("user", LIMITED)
async def test_a_limited_users_refused_commands_are_reported(
    user: str, redis_address: str, redis_client: Redis
) -> None:
    rules, commands, fatal = LIMITED[user]
    await make_user(redis_client, user, *rules)
    try:
        refused = await found(as_user(redis_address, user))
    finally:
        await redis_client.execute_command("ACL", "DELUSER", user)
    assert commands <= {name for one in refused for name in one.commands}
    assert fatal is None or any(one.fatal for one in refused) is fatal
    assert fatal is not None or refused == []
    for one in refused:
        assert "NOPERM" in one.words or "insufficient ACL permissions" in one.words
        assert one.purpose.use in str(one)
        assert ":pw@" not in str(one)
    assert await redis_client.keys() == []


@pytest.mark.parametrize("rule", ["-multi", "-@transaction"])
async def test_without_transactions_nothing_is_executed(
    rule: str, redis_address: str, redis_client: Redis
) -> None:
    await make_user(redis_client, "plain", "~*", "&*", "+@all", rule)
    try:
        refused = await found(as_user(redis_address, "plain"))
    finally:
        await redis_client.execute_command("ACL", "DELUSER", "plain")
    assert {name for one in refused for name in one.commands} == {"MULTI"}
    assert not any(one.fatal for one in refused)
    assert await redis_client.keys() == []


@pytest.mark.parametrize("kind", KINDS)
async def test_a_renamed_command_is_named_without_its_arguments(kind: str) -> None:
    with RedisServer(kind, options={"rename-command": "PEXPIRE secret"}) as server:
        with pytest.raises(BadSetting, match=r"PEXPIRE.*unknown command 'PEXPIRE'") as caught:
            await require_commands(uses(Settings(redis=Secret(server.address))))
        assert "probe" not in caught.value.message


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("slots", [False, True])
async def test_cluster_mode_is_refused_in_its_own_words(kind: str, slots: bool) -> None:
    with RedisServer(kind, options={"cluster-enabled": "yes"}) as server:
        if slots:
            with server.client() as client:
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
                await until(lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
        with pytest.raises(BadSetting, match="in cluster mode"):
            await require_commands(uses(Settings(redis=Secret(server.address))))
        fatal = [one for one in await found(server.address) if one.fatal]
        assert CLUSTER in str(fatal[0])
        assert ("CROSSSLOT" if slots else "CLUSTERDOWN") in {one.words.split()[0] for one in fatal}
        with pytest.raises(StoreRefused, match=r"in cluster mode|DB index is out of range"):
            await refused_by(RedisAddress.parse(server.address.replace("db=0", "db=1")), ())
