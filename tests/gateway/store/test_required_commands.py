"""The table of commands against the source, and tried on real servers."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from redis.asyncio import Redis

from gateway.errors import BadSetting, StoreRefused
from gateway.settings import EventSettings, QueueSettings, ResqueSettings, Secret, Settings
from gateway.store.address import RedisAddress
from gateway.store.command_probe import RefusedCommands, by_address, refused_by, require_commands, uses
from gateway.store.durability import CLUSTER
from gateway.store.required_commands import EXTERNAL, PURPOSES
from tests.support.redis import KINDS, RedisServer
from tests.support.worker_core import until

ROOT = Path(__file__).parents[3] / "gateway"
SOURCES: Final = (
    *("store", "mailbox", "registry", "queue", "delivery"),
    *("change_events", "check", "server", "resque"),
)
METHODS: Final = {
    "client_list": "CLIENT",
    "config_get": "CONFIG",
    "delete": "DEL",
    "xgroup_destroy": "XGROUP",
    "xinfo_groups": "XINFO",
    "execute": "EXEC",
    "pipeline": "MULTI",
}
"""Methods of redis-py that are not named as their command is."""
NOT_SENT: Final = {"COMMAND", "READONLY"}
"""Words of the source that are commands, too: a heading, the code of an error."""
CLIENTS: Final = ("redis", "pipe", "self._redis", "resque")


def _strings(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
            yield node.value.decode("latin-1") if isinstance(node.value, bytes) else node.value


def _methods(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in CLIENTS:
            yield node.attr


def _used(known: set[str]) -> dict[str, str]:
    """Command -> a file that sends it."""
    found: dict[str, str] = {}
    for folder in SOURCES:
        for file in sorted((ROOT / folder).rglob("*.py")):
            if file.name in ("requirements.py", "metrics_http.py"):
                continue
            text = file.read_text()
            tree = ast.parse(text)
            names = {name.upper() for name in re.findall(r"redis\.p?call\(\s*['\"](\w+)['\"]", text)}
            names |= set(re.findall(r"= \{'([A-Z]+)',", text))
            names |= {word for word in _strings(tree) if word.isupper() and word in known}
            names |= {METHODS.get(name, name.upper()) for name in _methods(tree)} & known
            found |= dict.fromkeys(names, file.name)
    return found


async def test_every_command_of_the_source_is_in_the_table(redis_client: Redis) -> None:
    known = {str(name).upper() for name in await redis_client.command()}
    used = _used(known)
    listed = {command.split(" ")[0] for purpose in PURPOSES for command in purpose.commands}
    excused = EXTERNAL.keys() | NOT_SENT
    assert {name: file for name, file in used.items() if name not in listed | excused} == {}
    assert listed - used.keys() == set()
    assert {"XREADGROUP", "SORT", "PSUBSCRIBE", "SPOP", "WAIT", "XCLAIM"} <= used.keys()


async def test_each_purpose_says_what_it_is_for() -> None:
    assert len({(one.role, one.use) for one in PURPOSES}) == len(PURPOSES)
    assert all(one.use and one.commands for one in PURPOSES)


def everything(address: str) -> Settings:
    return Settings(
        redis=Secret(address),
        queue=QueueSettings(durability="replicas"),
        events=EventSettings(channels=("news",), streams=("changes",), keyspace="configure"),
        resque=ResqueSettings(queues=("default",)),
    )


async def found(address: str) -> list[RefusedCommands]:
    refused: list[RefusedCommands] = []
    for one, here in by_address(uses(everything(address), checking=True)).items():
        refused += await refused_by(one, here)
    return refused


async def test_a_plain_server_takes_all_of_them_and_keeps_nothing(
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
    "no-channels": (("~*", "resetchannels", "+@all"), {"SUBSCRIBE news", "PUBLISH rhopush:rps:wake"}, False),
    "no-client": (("~*", "&*", "+@all", "-client"), {"CLIENT TRACKING", "CLIENT SETNAME"}, False),
    "no-sort": (("~rhopush:*", "~user:*", "~client:*", "~api_token:*", "&*", "+@all"), {"SORT"}, False),
}


@pytest.mark.parametrize("user", LIMITED)
async def test_a_limited_user_is_told_what_is_missing(
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
