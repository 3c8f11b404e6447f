"""All devices of users: those that the fan-out reads, and those that it omits without reading them. Nothing is
written."""

from collections.abc import Sequence
from typing import NamedTuple

from gateway.registry import token_marks
from gateway.registry.registry import DeviceRegistry, field_names
from gateway.registry.user_devices import WIDTH, UserDevices, device
from gateway.store import keys
from gateway.store.connection import RedisConnection
from protocols.devices import Device
from protocols.errors import BodyTooLarge


class ExaminedClient(NamedTuple):
    """One client of a user, regardless of the mark of its token.

    Attributes:
        device: the device as registered; for a client that does not exist, only the id.
        gone: whether the client does not exist.
        mark: the mark of its token; None: there is none.
    """

    device: Device
    gone: bool
    mark: token_marks.MarkFacts | None


class Examination:
    """Reads devices to explain a ping.

    Args:
        registry: reads the devices as the fan-out does.
        connection: to the Redis that holds RhoConnect's users.
    """

    def __init__(self, registry: DeviceRegistry, connection: RedisConnection) -> None:
        self._registry = registry
        self._connection = connection

    async def registrations(self, users: Sequence[str], devices_max: int) -> list[UserDevices]:
        """The registrations of these users, in their order, with all devices of a user who has very many.

        Args:
            users: logins.
            devices_max: most clients of all these users together.

        Raises:
            StoreDown: Redis did not answer.
            BodyTooLarge: they have more than `devices_max` clients.
        """
        known = await self._registry.examine(users)
        total = 0
        for user, one in zip(users, known, strict=True):
            if one.large:
                total += await self._connection.call("SCARD", keys.user(user, "clients"))
            else:
                total += len(one.devices) + len(one.left_out)
        if total > devices_max:
            raise BodyTooLarge(
                f"the users of user_id have {total} devices; with explain, at most {devices_max} are allowed",
                field="user_id",
            )
        return [await self._whole(user) if one.large else one for user, one in zip(users, known, strict=True)]

    async def _whole(self, user: str) -> UserDevices:
        every = await self._registry.all_devices(user)
        return UserDevices(
            tuple(every.devices),
            every.dangling,
            every.dead,
            every.left_out,
            marked=any(one.bad_at for one in every.devices),
            large=True,
        )

    async def clients(self, client_ids: Sequence[str]) -> list[ExaminedClient]:
        """These clients with the marks of their tokens. Raises StoreDown."""
        if not client_ids:
            return []
        values: list[bytes | None] = await self._connection.call("MGET", *field_names(client_ids))
        found: list[ExaminedClient] = []
        for index, client_id in enumerate(client_ids):
            *fields, mark = values[index * WIDTH : (index + 1) * WIDTH]
            one = device(client_id, [*fields, None], 0)
            gone = not isinstance(one, Device)
            facts = None if mark is None else token_marks.facts(mark)
            found.append(ExaminedClient(one if isinstance(one, Device) else Device(client_id), gone, facts))
        return found
