"""The limit of a caller to apps, on the routes of users and devices."""

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.errors import AppNotAllowed, NotFound
from gateway.registry.clients import Clients, device_fields
from gateway.registry.scopes import Principal


def require_all_apps(caller: Principal) -> None:
    """Require a caller without a limit to apps, for a change that concerns the devices of every app.

    Raises:
        AppNotAllowed: the caller is limited.
    """
    if caller.apps is not None:
        raise AppNotAllowed(f"{caller.name} is limited to apps: it cannot change data of all apps")


async def visible_clients(caller: Principal, clients: Clients, client_ids: Sequence[str]) -> list[str]:
    """Return those of some clients that the caller may see. Raises StoreDown."""
    if caller.apps is None:
        return list(client_ids)
    apps = await clients.apps_of(client_ids)
    return [client_id for client_id, app in zip(client_ids, apps, strict=True) if app in caller.apps]


async def require_visible(caller: Principal, clients: Clients, client_id: str) -> None:
    """Require that the caller may see a client.

    Raises:
        NotFound: the client belongs to another app: to this caller it does not exist.
        StoreDown: Redis does not answer.
    """
    if not await visible_clients(caller, clients, [client_id]):
        raise NotFound("there is no such client", field="client_id")


async def require_registration(
    caller: Principal, clients: Clients, client_id: str, fields: Mapping[str, Any]
) -> None:
    """Require that the caller may register a device with these fields.

    Args:
        caller: the caller.
        clients: the devices.
        client_id: id of the client; "": it is new.
        fields: the fields that are sent.

    Raises:
        AppNotAllowed: the device would belong, or belongs, to an app that the caller's token does not allow; or it is
            registered without an app, so that it is not visible to the caller.
        InvalidField: a device field is not a text or whole number, or is too long.
        StoreDown: Redis does not answer.
    """
    if caller.apps is None:
        return
    (before,) = await clients.apps_of([client_id]) if client_id else [None]
    sent = device_fields(fields).get("device_app_id")
    allowed = {app for app in (before, sent) if app} <= caller.apps and bool(before or sent)
    if allowed and client_id and not before:
        allowed = not await _is_registered(clients, client_id)
    if not allowed:
        raise AppNotAllowed(
            f"{caller.name} is limited to other apps than device_app_id", field="device_app_id"
        )


async def _is_registered(clients: Clients, client_id: str) -> bool:
    """Return whether a client exists and has a device type; without one, RhoConnect treats it as not registered
    (contract §2.1). Raises StoreDown."""
    try:
        return bool((await clients.show(client_id))["device_type"])
    except NotFound:
        return False
