"""The table of commands, compared with the source and tested on real servers."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from redis.asyncio import Redis

from gateway.settings import EventSettings, QueueSettings, ResqueSettings, Secret, Settings
from gateway.store.command_probe import RefusedCommands, by_address, refused_by, uses
from gateway.store.required_commands import EXTERNAL, PURPOSES

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
"""Methods of redis-py whose name differs from that of their command."""
NOT_SENT: Final = {"COMMAND", "READONLY"}
"""Words in the source that are also commands: a heading, the code of an error."""
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


async def test_each_purpose_has_a_description() -> None:
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
