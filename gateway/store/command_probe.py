"""Tests without side effects whether each configured Redis accepts the commands in
`gateway.store.required_commands`.

The commands are queued in a transaction that is discarded, so that Redis checks them without executing them. If
Redis refuses MULTI itself, no other command can be tested this way: the probe reports MULTI, and other refusals
appear in operation.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from gateway.errors import BadSetting, StoreDown
from gateway.settings import Settings
from gateway.store.address import (
    RedisAddress,
    document_addresses,
    main_address,
    queue_address,
    resque_location,
    rhoconnect_push_address,
)
from gateway.store.client_factory import client
from gateway.store.durability import CLUSTER
from gateway.store.error_replies import in_cluster_mode, is_lasting, to_store_error, words_of
from gateway.store.required_commands import (
    CHANNEL,
    EXECUTED,
    NAMESPACE,
    PATTERN,
    PURPOSES,
    STREAM,
    CommandPurpose,
    Role,
)
from protocols.change_events import pattern

_TIMEOUT_S: Final = 5.0


class RedisUse(NamedTuple):
    """Use of a Redis by one part of the gateway.

    Attributes:
        setting: the setting that holds the address.
        address: the address of the Redis.
        role: the part of the gateway.
        values: replacements for words in the table's commands; a command is tested once with each of them.
    """

    setting: str
    address: RedisAddress
    role: Role
    values: Mapping[str, Sequence[str]] = {}


class RefusedCommands(NamedTuple):
    """A purpose for which Redis refuses commands.

    Attributes:
        setting: the setting that holds the address of the Redis.
        address: the address of the Redis.
        purpose: the purpose of the commands.
        commands: the refused commands, by name.
        words: Redis' error for the first of them.
    """

    setting: str
    address: RedisAddress
    purpose: CommandPurpose
    commands: tuple[str, ...]
    words: str

    @property
    def fatal(self) -> bool:
        """Whether the gateway cannot work without these commands."""
        return not self.purpose.consequence or in_cluster_mode(self.words)

    def __str__(self) -> str:
        if in_cluster_mode(self.words):
            return f"{self.address}: {CLUSTER}: {self.words}"
        consequence = self.purpose.consequence or "without it no ping can be accepted or delivered"
        names = ", ".join(self.commands)
        return f"{self.address} refuses {names} ({self.purpose.use}): {self.words}; {consequence}"


def uses(settings: Settings, *, checking: bool = False) -> Iterator[RedisUse]:
    """Every use of a Redis by these settings.

    Args:
        settings: settings that hold the address of a Redis.
        checking: whether to include the commands that only `rhopush check` needs.

    Raises:
        BadSetting: a setting is not an address.
    """
    main, queued = main_address(settings), queue_address(settings)
    queue_setting = "redis" if settings.queue.redis is None else "queue.redis"
    roles: tuple[Role, ...] = ("registry", "devices", "users")
    roles = (*roles, "check") if checking else roles
    yield RedisUse(queue_setting, queued, "queue")
    if settings.queue.durability == "replicas":
        yield RedisUse(queue_setting, queued, "replicas")
    for role in roles:
        yield RedisUse("redis", main, role)
    if settings.rhoconnect_push.mode == "builtin":
        yield rhoconnect_push_use(settings)
    yield from _events(settings, RedisUse(queue_setting, queued, "events"), main)
    if settings.resque.queues:
        setting = "redis" if settings.resque.redis is None else "resque.redis"
        address, names = resque_location(settings)
        yield RedisUse(setting, address, "resque", {NAMESPACE: [names.namespace]})


def rhoconnect_push_use(settings: Settings) -> RedisUse:
    """The use of Redis by the RhoConnect Push service."""
    return RedisUse(
        "redis" if settings.rhoconnect_push.redis is None else "rhoconnect_push.redis",
        rhoconnect_push_address(settings),
        "rhoconnect_push",
    )


def _events(settings: Settings, windows: RedisUse, main: RedisAddress) -> Iterator[RedisUse]:
    events = settings.events
    if not (events.channels or events.streams or events.keyspace != "off"):
        return
    yield windows
    keyspace = events.keyspace != "off"
    for address in document_addresses(settings) if keyspace else (main,):
        values = {
            CHANNEL: list(events.channels) if address == main else [],
            PATTERN: [pattern(address.db)] if keyspace else [],
        }
        yield RedisUse("redis", address, "documents", values)
    if events.streams:
        yield RedisUse("redis", main, "streams", {STREAM: list(events.streams)})


def by_address(wanted: Iterable[RedisUse]) -> Mapping[RedisAddress, Sequence[RedisUse]]:
    """Group uses by the address of their Redis."""
    found: dict[RedisAddress, list[RedisUse]] = {}
    for use in wanted:
        found.setdefault(use.address, []).append(use)
    return found


async def refused_by(address: RedisAddress, here: Iterable[RedisUse]) -> list[RefusedCommands]:
    """The commands that a Redis refuses, by purpose and use.

    Raises:
        StoreDown: Redis does not answer.
        StoreRefused: Redis refuses the connection.
    """
    tries = [(use, purpose, command) for use in here for purpose, command in _commands(use)]
    async with client(address, timeout_s=_TIMEOUT_S) as redis:
        try:
            errors = await _probe(redis, [command for _, _, command in tries])
        except (RedisError, OSError) as error:
            raise to_store_error(error, f"Redis at {address} cannot be reached") from error
    return list(_grouped(address, tries, errors))


def _commands(use: RedisUse) -> Iterator[tuple[CommandPurpose, tuple[str, ...]]]:
    for purpose in PURPOSES:
        if purpose.role != use.role:
            continue
        for command in purpose.commands:
            for words in _filled(tuple(command.split(" ")), use.values):
                yield purpose, words


def _filled(words: tuple[str, ...], values: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, ...]]:
    for name in (CHANNEL, PATTERN, STREAM):
        if name in words:
            yield from (
                tuple(value if word == name else word for word in words) for value in values.get(name, ())
            )
            return
    namespace = next(iter(values.get(NAMESPACE, ())), "")
    yield tuple(word.replace(NAMESPACE + ":", namespace + ":") for word in words)


async def _probe(redis: Redis, commands: Sequence[tuple[str, ...]]) -> list[str | None]:
    """Redis' error for each command; None: the command is accepted."""
    pool: Any = redis.connection_pool  # redis-py's methods have no type annotations
    connection = await pool.get_connection()
    try:
        refused = await _replies(connection, [("MULTI",)])
        if refused[0] is not None:  # MULTI was refused, so Redis would execute the next commands.
            return [refused[0] if command[0] == "MULTI" else None for command in commands]
        queued = [command for command in commands if command[0] not in _ENDING]
        errors = dict(zip(queued, await _replies(connection, queued), strict=True))
        if (await _replies(connection, [("DISCARD",)]))[0] is None:
            executed = [one for one in queued if one[0] in EXECUTED and errors[one] is None]
            # Without a transaction EXEC has no effect: if it is permitted, its error is not a lasting one.
            executed += {one for one in commands if one[0] == "EXEC"}
            errors |= dict(zip(executed, await _replies(connection, executed), strict=True))
        return [errors.get(command) for command in commands]
    finally:
        await connection.disconnect()  # ends any open transaction
        await pool.release(connection)


_ENDING: Final = ("MULTI", "EXEC")
"""Commands that are not queued, since they begin and end the transaction. EXEC is tested after it."""


async def _replies(connection: Any, commands: Sequence[tuple[str, ...]]) -> list[str | None]:
    await connection.send_packed_command(connection.pack_commands(commands))
    refusals: list[str | None] = []
    for _ in commands:
        try:
            await connection.read_response()
        except ResponseError as error:
            words = words_of(error)
            refusals.append(words if is_lasting(words) else None)
        else:
            refusals.append(None)
    return refusals


def _grouped(
    address: RedisAddress,
    tries: Sequence[tuple[RedisUse, CommandPurpose, tuple[str, ...]]],
    errors: Sequence[str | None],
) -> Iterator[RefusedCommands]:
    """Group the refused commands by purpose and use."""
    groups: dict[tuple[str, int], list[tuple[RedisUse, CommandPurpose, str, str]]] = {}
    for (use, purpose, command), error in zip(tries, errors, strict=True):
        if error is not None:
            one = (use, purpose, name_of(command), error)
            groups.setdefault((use.role, PURPOSES.index(purpose)), []).append(one)
    for group in groups.values():
        use, purpose, _, words = group[0]
        names = tuple(dict.fromkeys(name for _, _, name, _ in group))
        yield RefusedCommands(use.setting, address, purpose, names, words)


def name_of(command: Sequence[str]) -> str:
    """The command's name, with its subcommand, channel or pattern."""
    named = ("CLIENT", "CONFIG", "SUBSCRIBE", "PSUBSCRIBE", "PUBLISH", "XGROUP", "XINFO")
    return " ".join(command[: 2 if command[0] in named else 1])


async def require_commands(wanted: Iterable[RedisUse]) -> list[str]:
    """Test these uses at startup. A Redis that does not answer is skipped here; the part that uses it reports it.

    Returns:
        Warnings for the operator: the functions that do not work.

    Raises:
        BadSetting: Redis refuses a command that every gateway needs.
    """
    warnings: list[str] = []
    for address, here in by_address(wanted).items():
        try:
            found = await refused_by(address, here)
        except StoreDown:
            continue
        for one in found:
            if one.fatal:
                raise BadSetting(f"{one.setting}: {one}", field=one.setting)
        warnings += map(str, found)
    return warnings
