"""An inventory of the push data in a live RhoConnect's Redis, for `rhopush check`. It writes nothing.

It uses only SCARD, SSCAN, SMEMBERS, MGET, LLEN, GET and HLEN, for a few hundred keys at a time, so that it does not
slow a busy Redis down.
"""

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.delivery.provider_registry import installed
from gateway.store import keys
from gateway.store.client_factory import as_text
from gateway.store.error_replies import to_store_error
from gateway.store.error_text import error_text
from protocols.devices import RHOCONNECT_PUSH, Device, platform_of

USERS_MAX: Final = 50_000
"""Largest number of users that are examined individually: a check takes seconds."""
_AT_ONCE: Final = 200
_FIELDS: Final = ("rho__id", "device_type", "device_push_type", "device_pin", "device_app_id")
PUSH_TOKENS_MAX: Final = 1_000
"""Largest number of RhoConnect Push devices whose registrations are checked."""


class Inventory(NamedTuple):
    """The result of the inventory.

    Attributes:
        users: users of the app; users_examined: number of them that were examined.
        devices: registered devices by the provider that delivers to them.
        apps: devices by platform and `device_app_id`, which determines the credential that each needs.
        unsupported: devices that no provider reaches, by their device type.
        gcm: devices of type `gcm`, which RhoConnect no longer reaches.
        unregistered: clients without a device type: logged out.
        without_push_token: registered devices without a push token.
        dangling: client ids without a client record.
        admin_token: the admin's API token in Redis; None: there is no admin.
        jobs: jobs that wait in the Resque queues of the settings.
        workers: other Resque workers on these queues.
        push_tokens: RhoConnect Push tokens of devices, at most `PUSH_TOKENS_MAX`.
    """

    users: int
    users_examined: int
    devices: Counter[str]
    apps: Counter[tuple[str, str]]
    unsupported: Counter[str]
    gcm: int
    unregistered: int
    without_push_token: int
    dangling: int
    admin_token: str | None
    jobs: int
    workers: tuple[str, ...]
    push_tokens: tuple[str, ...] = ()


class _InventoryCounter:
    """Counts clients; `device_types`: the argument of `platform_of`."""

    def __init__(self, device_types: Mapping[str, str]) -> None:
        self._device_types = device_types
        self.devices: Counter[str] = Counter()
        self.apps: Counter[tuple[str, str]] = Counter()
        self.unsupported: Counter[str] = Counter()
        self.gcm = self.unregistered = self.without_push_token = self.dangling = 0
        self.push_tokens: list[str] = []

    def add(self, fields: list[str]) -> None:
        """Count one client by its fields; absent fields are ""."""
        exists, kind, push_type, pin, app_id = fields
        platform = platform_of(Device("", kind, push_type, pin), self._device_types) if exists else None
        if not exists:
            self.dangling += 1
        elif platform is None:
            self.unregistered += 1
        elif not platform:
            self.unsupported[push_type or kind] += 1
        elif not pin:
            self.without_push_token += 1
        else:
            self.devices[platform] += 1
            self.apps[platform, app_id] += 1
            self.gcm += (push_type or kind).lower() == "gcm"
            if platform == RHOCONNECT_PUSH and len(self.push_tokens) < PUSH_TOKENS_MAX:
                self.push_tokens.append(pin)


async def take_inventory(
    redis: Redis, resque: Redis, names: keys.ResqueKeys, queues: Sequence[str]
) -> Inventory:
    """Take the inventory.

    Args:
        redis: RhoConnect's Redis.
        resque: the Redis of its jobs.
        names: Resque's keys there.
        queues: the Resque queues to examine.

    Raises:
        StoreDown: Redis does not answer, or refuses a command.
    """
    try:
        tally, seen = _InventoryCounter(installed().device_types), 0
        async for logins in _logins(redis):
            await _count(redis, logins, tally)
            seen += len(logins)
        jobs, workers = await _resque(resque, names, queues)
        return Inventory(
            users=await redis.scard(keys.APP_USERS),
            users_examined=seen,
            devices=tally.devices,
            apps=tally.apps,
            unsupported=tally.unsupported,
            gcm=tally.gcm,
            unregistered=tally.unregistered,
            without_push_token=tally.without_push_token,
            dangling=tally.dangling,
            admin_token=await _admin_token(redis),
            jobs=jobs,
            workers=workers,
            push_tokens=tuple(tally.push_tokens),
        )
    except (RedisError, OSError) as error:
        raise to_store_error(error, f"Redis does not answer: it {error_text(error)}") from error


async def _logins(redis: Redis) -> AsyncIterator[list[str]]:
    cursor, seen = 0, 0
    while seen < USERS_MAX:
        cursor, found = await redis.sscan(keys.APP_USERS, cursor, count=_AT_ONCE)
        logins = [as_text(login) for login in found][: USERS_MAX - seen]
        seen += len(logins)
        if logins:
            yield logins
        if not cursor:
            return


async def _count(redis: Redis, logins: list[str], tally: _InventoryCounter) -> None:
    async with redis.pipeline(transaction=False) as pipe:
        for login in logins:
            pipe.smembers(keys.user(login, "clients"))
        sets = await pipe.execute()
    ids = [as_text(client_id) for found in sets for client_id in found]
    for start in range(0, len(ids), _AT_ONCE):
        part = ids[start : start + _AT_ONCE]
        values = await redis.mget([keys.client(one, field) for one in part for field in _FIELDS])
        texts = ["" if value is None else as_text(value) for value in values]
        for at in range(0, len(texts), len(_FIELDS)):
            tally.add(texts[at : at + len(_FIELDS)])


async def _admin_token(redis: Redis) -> str | None:
    found = await redis.get(keys.user(keys.ADMIN_LOGIN, "token_id"))
    return None if found is None else as_text(found)


async def _resque(
    resque: Redis, names: keys.ResqueKeys, queues: Sequence[str]
) -> tuple[int, tuple[str, ...]]:
    wanted = set(queues)
    jobs = sum([await resque.llen(names.queue(queue)) for queue in queues if queue != "*"])
    workers = [as_text(worker) for worker in await resque.smembers(names.workers)]
    others = [one for one in workers if not one.startswith(keys.RESQUE_HOST_PREFIX) and _takes(one, wanted)]
    return jobs, tuple(sorted(others))


def _takes(worker: str, wanted: set[str]) -> bool:
    """Return whether a worker (`HOST:PID:QUEUE,QUEUE`) processes one of these queues."""
    queues = set(worker.rpartition(":")[2].split(","))
    return "*" in queues or "*" in wanted or bool(queues & wanted)
