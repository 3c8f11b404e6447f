"""`rhopush check --clean`: lists the gateway's data in Redis, and removes it.

The gateway's own keys begin with `rhopush:`. Two items are stored in other keys: the gateway's consumer group on the
streams of `events.streams`, with which a stream is created, and the registrations of its Resque workers. RhoConnect's
and rhoconnect-push's keys are never changed.
"""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from gateway.errors import StoreDown
from gateway.logs.terminal import printable
from gateway.settings import Settings
from gateway.store import keys
from gateway.store.address import RedisAddress, all_addresses, main_address, resque_location
from gateway.store.client_factory import as_text, client
from gateway.store.error_text import error_text
from protocols.numbers import stored

_TIMEOUT_S: Final = 10.0
_AT_ONCE: Final = 1_000
_REMOVE_UNUSED: Final = """
local about = redis.call('XINFO', 'STREAM', KEYS[1])
local found = {}
for index = 1, #about, 2 do found[about[index]] = about[index + 1] end
if found['groups'] > 0 or found['last-generated-id'] ~= '0-0' then return 0 end
return redis.call('DEL', KEYS[1])
"""
"""Removes the stream KEYS[1] if it has no groups and never had an entry; returns the number of removed keys."""


class Leftovers(NamedTuple):
    """The gateway's data in one Redis.

    Attributes:
        address: address of the Redis.
        kinds: number of keys by their common prefix, which ends with `*`.
        pings: pings in the queue, whose deliveries have no verdicts yet; removal of the keys loses them.
        batches: batches of deliveries that wait for another attempt, or are a part of a broadcast; removal of the keys
            loses them.
        scheduled: pings that wait for their `deliver_at`; removal of the keys loses them.
        jobs: jobs taken from Resque that are not queued yet; removal of the keys loses them.
        streams: streams of `events.streams` with the gateway's consumer group.
        workers: registrations of the gateway's Resque workers.
        gateways: names of connected gateways; None: Redis does not list its clients.
    """

    address: RedisAddress
    kinds: Counter[str]
    pings: int
    batches: int
    scheduled: int
    jobs: int
    streams: tuple[str, ...]
    workers: tuple[str, ...]
    gateways: tuple[str, ...] | None

    @property
    def empty(self) -> bool:
        """Whether there is nothing to remove."""
        return not (self.kinds or self.streams or self.workers)

    def lines(self) -> Iterator[str]:
        """Yield the lines of the list for the operator. Names in Redis may contain any character."""
        yield from map(printable, self._texts())

    def _texts(self) -> Iterator[str]:
        for kind, count in sorted(self.kinds.items()):
            yield f"{self.address}: {count} keys {kind}"
        for stream in self.streams:
            yield f"{self.address}: consumer group {keys.CHANGE_EVENT_GROUP} of stream {stream}"
        for worker in self.workers:
            yield f"{self.address}: Resque worker {worker}"
        if self.pings:
            yield f"{self.address}: {self.pings} accepted pings are not finished: they will be lost"
        if self.batches:
            yield f"{self.address}: {self.batches} batches of deliveries wait for an attempt: they will be lost"
        if self.scheduled:
            yield f"{self.address}: {self.scheduled} pings wait for their deliver_at: they will be lost"
        if self.jobs:
            yield f"{self.address}: {self.jobs} jobs taken from Resque are not queued yet: they will be lost"
        for name in self.gateways or ():
            yield f"{self.address}: a gateway is connected ({name}): stop it first"
        if self.gateways is None:
            yield f"{self.address}: Redis does not list its clients: make sure that no gateway uses it"


def addresses(settings: Settings) -> tuple[RedisAddress, ...]:
    """Return every Redis that the settings name, each once."""
    found = {str(address): address for _, address in all_addresses(settings)}
    return tuple(found.values())


async def find(settings: Settings) -> list[Leftovers]:
    """Search every Redis that the settings name, without a write.

    Raises:
        StoreDown: a Redis does not answer, or refuses a command.
    """
    return [await _leftovers(address, settings) for address in addresses(settings)]


async def remove(found: Leftovers, settings: Settings) -> int:
    """Remove the data that `find` found, and data added since.

    Returns:
        The number of removed keys.

    Raises:
        StoreDown: Redis does not answer, or refuses a command.
    """
    async with _asking(found.address) as redis:
        count = 0
        for stream in found.streams:
            await redis.xgroup_destroy(stream, keys.CHANGE_EVENT_GROUP)
            count += await _remove_unused(redis, stream)
        if found.workers:
            await _unregister(redis, found.workers, resque_location(settings).names)
        async for names in _own_keys(redis):
            count += await redis.unlink(*names)
        return count


@asynccontextmanager
async def _asking(address: RedisAddress) -> AsyncIterator[Redis]:
    try:
        async with client(address, timeout_s=_TIMEOUT_S) as redis:
            yield redis
    except (RedisError, OSError) as error:
        words = f": {error}" if isinstance(error, ResponseError) else ""
        raise StoreDown(f"{address} {error_text(error)}{words}") from error


async def _leftovers(address: RedisAddress, settings: Settings) -> Leftovers:
    async with _asking(address) as redis:
        kinds: Counter[str] = Counter()
        async for names in _own_keys(redis):
            kinds.update(_kind(name) for name in names)
        streams: tuple[str, ...] = ()
        workers: tuple[str, ...] = ()
        if settings.redis is not None and str(address) == str(main_address(settings)):
            streams = await _grouped(redis, settings)
        if (resque := _resque_names(address, settings)) is not None:
            workers = await _workers(redis, resque)
        return Leftovers(
            address,
            kinds,
            pings=stored(await redis.hget(keys.STATS, "pings")),
            batches=await _batches(redis),
            scheduled=stored(await redis.hget(keys.STATS, "scheduled_pings")),
            jobs=await _taken(redis),
            streams=streams,
            workers=workers,
            gateways=await _gateways(redis),
        )


async def _own_keys(redis: Redis) -> AsyncIterator[list[bytes]]:
    """Yield the gateway's own keys in batches, each key at least once."""
    cursor = 0
    while True:
        cursor, names = await redis.scan(cursor, match=f"{keys.PREFIX}*", count=_AT_ONCE)
        if names:
            yield [name for name in names if isinstance(name, bytes)]
        if not cursor:
            return


def _kind(name: bytes) -> str:
    """Return the prefix that a key shares with its kind: `rhopush:dead:*`; a key without an id is its own kind."""
    parts = name.decode("utf-8", "replace").split(":")
    length = 3 if parts[1:2] == [keys.HASH_TAG] else 2
    return ":".join(parts[:length]) + (":*" if len(parts) > length else "")


async def _taken(redis: Redis) -> int:
    """Return the number of jobs taken from Resque's lists that are not queued yet."""
    takers: Any = await redis.zrange(keys.RESQUE_TAKERS, 0, -1)
    return sum([int(await redis.hlen(keys.RESQUE_TAKEN + as_text(name))) for name in takers])


async def _batches(redis: Redis) -> int:
    """Return the number of batches of deliveries that wait outside the queue of pings."""
    streams = [int(await redis.xlen(stream)) for stream in (keys.RETRIES, keys.CHUNKS)]
    return int(await redis.zcard(keys.SCHEDULE)) + sum(streams)


async def _remove_unused(redis: Redis, stream: str) -> int:
    """Remove a stream without groups that never had an entry: a gateway created it with its group.

    Returns:
        The number of removed keys. 0: an entry was written to the stream, so that another program uses it.
    """
    return int(await redis.eval(_REMOVE_UNUSED, 1, stream))


async def _grouped(redis: Redis, settings: Settings) -> tuple[str, ...]:
    found = []
    for stream in settings.events.streams:
        try:
            groups = await redis.xinfo_groups(stream)
        except ResponseError:  # the stream does not exist
            continue
        if any(as_text(group["name"]) == keys.CHANGE_EVENT_GROUP for group in groups):
            found.append(stream)
    return tuple(found)


def _resque_names(address: RedisAddress, settings: Settings) -> keys.ResqueKeys | None:
    """Return the names of Resque's keys in a Redis; None: it is not the Redis of Resque."""
    if settings.redis is None and settings.resque.redis is None:
        return None
    location = resque_location(settings)
    return location.names if str(location.address) == str(address) else None


async def _workers(redis: Redis, names: keys.ResqueKeys) -> tuple[str, ...]:
    listed = [as_text(worker) for worker in await redis.smembers(names.workers)]
    return tuple(sorted(worker for worker in listed if worker.startswith(keys.RESQUE_HOST_PREFIX)))


async def _unregister(redis: Redis, workers: tuple[str, ...], names: keys.ResqueKeys) -> None:
    async with redis.pipeline(transaction=True) as pipe:
        for worker in workers:
            pipe.srem(names.workers, worker)
            pipe.hdel(names.heartbeats, worker)
            stats = (names.stat(kind, worker) for kind in ("processed", "failed"))
            pipe.delete(names.worker(worker), names.started(worker), *stats)
        await pipe.execute()


async def _gateways(redis: Redis) -> tuple[str, ...] | None:
    """Return the names of connections that only a running gateway has."""
    try:
        clients = await redis.client_list()
    except ResponseError:
        return None
    named = {as_text(one.get("name", "")) for one in clients}
    return tuple(sorted(name for name in named if name.startswith(keys.CONNECTION_NAME)))
