"""The endpoints of webhooks: their states, a test message, and the delivery of earlier events again."""

from aiohttp import web

from gateway.console.guard import Form, Visit, text_field
from gateway.console.page_set import PageSet
from gateway.errors import NotFound, RhoPushError
from gateway.http_api.admin.admin_route import SUBJECT
from gateway.http_api.dependencies import Dependencies, WebhookOperations
from protocols.ping.fields import instant_ms


def has_webhooks(services: Dependencies) -> bool:
    """Return whether these services have webhooks."""
    return services.webhooks is not None


class WebhookPage(PageSet):
    """The routes of webhooks."""

    @property
    def _webhooks(self) -> WebhookOperations:
        webhooks = self._services.webhooks
        if webhooks is None:
            raise NotFound("this gateway has no webhooks")
        return webhooks

    async def show(self, _: web.Request, visit: Visit) -> web.Response:
        """Return the table of endpoints."""
        return await self._table(visit)

    async def test(self, request: web.Request, visit: Visit, form: Form) -> web.Response:
        """Send a test message to an endpoint, and show the result."""
        name = request[SUBJECT] = text_field(form, "name")
        found = await self._webhooks.test(name)
        await self.audit(request, visit, f"/webhooks/test {name}")
        status = "" if found["status"] is None else f" (status {found['status']})"
        error = f": {found['error']}" if found["error"] else ""
        return await self._table(
            visit, notice=f"Test message {found['id']} to {name}: {found['result']}{status}{error}"
        )

    async def replay(self, request: web.Request, visit: Visit, form: Form) -> web.Response:
        """Deliver the events since an instant to an endpoint again."""
        name, since = text_field(form, "name"), text_field(form, "since").strip()
        try:
            since_ms = instant_ms(since, "since")
            found = await self._webhooks.replay(name, since_ms)
        except RhoPushError as error:
            await self.audit(request, visit, f"/webhooks/replay {name}", error.code)
            return await self._table(visit, error=error, chosen=name, since=since)
        await self.audit(request, visit, f"/webhooks/replay {name}")
        oldest = found["oldest"]
        stored = f"The oldest stored event is of {oldest}." if oldest else "No event is stored."
        if found["state"] == "disabled":
            stored += " It is disabled: a test that succeeds enables it."
        return await self._table(
            visit, notice=f"{name} receives the events since {found['since']} again. {stored}"
        )

    async def _table(
        self,
        visit: Visit,
        *,
        notice: str = "",
        error: RhoPushError | None = None,
        chosen: str = "",
        since: str = "",
    ) -> web.Response:
        endpoints = await self._webhooks.listing()
        return await self.page(
            "webhooks.html",
            visit,
            notice=notice,
            error=error,
            endpoints=endpoints,
            chosen=chosen,
            since=since,
        )
