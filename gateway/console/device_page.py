"""The page of a device: its state, and its last deliveries."""

from collections.abc import Mapping
from typing import Any, Final, Protocol

from aiohttp import web

from gateway.console.guard import Visit
from gateway.console.page_set import PageSet
from gateway.console.pages import Pages
from gateway.console.ping_pages import accepted_ms
from gateway.errors import NotFound
from gateway.http_api.context import HandlerContext
from gateway.queue.device_deliveries import FoundDeliveries
from gateway.store import keys
from gateway.store.errors import RedisCommands
from protocols.errors import BodyTooLarge
from protocols.numbers import whole

_CURSOR_MAX: Final = 10**9


class Deliveries(Protocol):
    """Finds the deliveries to devices (`gateway.queue.device_deliveries.DeviceDeliveries`)."""

    async def of(self, client_id: str, cursor: int = 0) -> FoundDeliveries:
        """Search for the deliveries to a device. Raises StoreDown."""
        ...


class DevicePage(PageSet):
    """The route of a device.

    Args:
        context: the state shared by the routes.
        pages: renders the page.
        deliveries: finds deliveries.
    """

    def __init__(self, context: HandlerContext, pages: Pages, deliveries: Deliveries) -> None:
        super().__init__(context, pages)
        self._ask = RedisCommands(context.services.redis)
        self._deliveries = deliveries

    async def show(self, request: web.Request, visit: Visit) -> web.Response:
        """Return the page of a device that is registered or has deliveries."""
        client_id = request.match_info["client_id"]
        cursor = whole(request.query.get("cursor", ""), highest=_CURSOR_MAX) or 0
        owner = await self._ask("GET", keys.client(client_id, "user_id"))
        login = owner.decode("utf-8", "replace") if owner else ""
        device, is_listed = await self._state(login, client_id)
        found = await self._deliveries.of(client_id, cursor)
        if not login and not found.deliveries and not cursor:
            raise NotFound("there is no such device, and no receipt names it", field="client_id")
        times = [accepted_ms(one["ping_id"]) for one in found.deliveries]
        return await self.page(
            "device.html",
            visit,
            client_id=client_id,
            login=login,
            device=device,
            is_listed=is_listed,
            found=found,
            rows=list(zip(times, found.deliveries, strict=True)),
        )

    async def _state(self, login: str, client_id: str) -> tuple[Mapping[str, Any] | None, bool]:
        """Return the report of a device of a user, and whether the user's list has the device or is too long to
        report."""
        operators = self._services.operators
        try:
            devices = [] if operators is None or not login else await operators.device_reports.of_user(login)
        except BodyTooLarge:
            return None, True
        device = next((one for one in devices if one["client_id"] == client_id), None)
        return device, device is not None
