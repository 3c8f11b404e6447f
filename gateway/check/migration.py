"""The effects of this gateway on the push of a live RhoConnect, for `rhopush check`.

| situation | finding |
| --- | --- |
| RhoConnect pushes a source's changes, and so does `events.keyspace` | an error: two pushes per change |
| the same, by channel or stream | a warning: only if a program publishes the changes there |
| another Resque worker on the gateway's queues | a warning: it takes jobs, which RhoConnect pushes |
| devices of a platform without a credential | an error: they would not be served |
| devices of discontinued platforms, dangling ids | a warning: RhoConnect does not reach them either |
| devices may register at the gateway (`auth.devices`) | a warning: RhoConnect continues to register them, too |
"""

from collections.abc import Iterator
from typing import Final

from gateway.check.findings import Finding, Level
from gateway.check.inventory import Inventory, take_inventory
from gateway.check.rhoconnect_push import check_registrations
from gateway.delivery.provider_registry import installed
from gateway.errors import StoreDown
from gateway.settings import Settings
from gateway.store.address import document_addresses, main_address, resque_location
from gateway.store.client_factory import client, facts

_TIMEOUT_S: Final = 5.0


async def check_migration(settings: Settings) -> list[Finding]:
    """Examine RhoConnect's Redis; returns no findings for a stand-alone gateway or an empty Redis."""
    if settings.redis is None:
        return []
    jobs = resque_location(settings)
    try:
        async with (
            client(main_address(settings), timeout_s=_TIMEOUT_S) as redis,
            client(jobs.address, timeout_s=_TIMEOUT_S) as resque,
        ):
            inventory = await take_inventory(redis, resque, jobs.names, settings.resque.queues)
    except StoreDown as error:
        return [Finding(Level.BAD, "rhoconnect", f"users and devices were not counted: {error.message}")]
    found = [*judge(inventory, settings)] if inventory.users or inventory.admin_token is not None else []
    return found + await check_registrations(inventory.push_tokens, settings) + await _shards(settings)


def judge(inventory: Inventory, settings: Settings) -> Iterator[Finding]:
    """Yield all findings about an inventory. Reads nothing."""
    seen = (
        ""
        if inventory.users_examined >= inventory.users
        else f" (the first {inventory.users_examined} looked at)"
    )
    counts = ((inventory.devices[provider.name], provider.devices) for provider in installed())
    devices = ", ".join(f"{count} {name}" for count, name in counts if count)
    about = f"{inventory.users} users{seen}, devices: {devices or 'none'}"
    yield Finding(Level.GOOD, "rhoconnect", about)
    yield from _devices(inventory)
    yield from _credentials(inventory, settings)
    yield from _sources(settings)
    yield from _resque(inventory, settings)
    yield from _access(inventory, settings)


def _devices(inventory: Inventory) -> Iterator[Finding]:
    if inventory.unsupported:
        kinds = ", ".join(f"{count} {name!r}" for name, count in sorted(inventory.unsupported.items()))
        yield Finding(Level.WARNING, "devices", f"no provider reaches {kinds}: their services have ended")
    if inventory.dangling:
        about = f"{inventory.dangling} ids without a client: skipped, where RhoConnect fails the whole ping"
        yield Finding(Level.WARNING, "devices", about)
    if inventory.without_push_token:
        yield Finding(
            Level.WARNING,
            "devices",
            f"{inventory.without_push_token} registered without a push token: skipped",
        )
    if inventory.unregistered:
        yield Finding(
            Level.GOOD, "devices", f"{inventory.unregistered} logged out: skipped, as by RhoConnect"
        )
    if inventory.gcm:
        about = f"{inventory.gcm} of type gcm, which RhoConnect dropped, are reached again through FCM"
        yield Finding(Level.GOOD, "change", about)


def _credentials(inventory: Inventory, settings: Settings) -> Iterator[Finding]:
    lacking: dict[tuple[str, str], int] = {}
    for (platform, app_id), count in inventory.apps.items():
        if not _served(settings, platform, app_id):
            name = app_id if app_id in settings.apps else ""
            lacking[platform, name] = lacking.get((platform, name), 0) + count
    names = {provider.name: provider.devices for provider in installed()}
    for (platform, app_id), count in sorted(lacking.items()):
        whose = f" of {app_id}" if app_id else ""
        about = f"{count} {names[platform]} devices{whose} would not be served: no credential"
        yield Finding(Level.BAD, "devices", about)


def _served(settings: Settings, platform: str, app_id: str) -> bool:
    provider = installed().get(platform)
    return provider is not None and provider.unserved(settings, app_id) is None


def _sources(settings: Settings) -> Iterator[Finding]:
    own = {
        name
        for name, source in settings.sources.items()
        if source.push_notify and source.partition_type == "user"
    }
    if not own:
        return
    events = settings.events
    pushed = own if events.sources is None else own & set(events.sources)
    names = ", ".join(sorted(own))
    yield Finding(Level.GOOD, "push_notify", f"RhoConnect itself pushes changes of {names}")
    if pushed and events.keyspace != "off":
        about = (
            f"changes of {', '.join(sorted(pushed))} would push twice: by RhoConnect's push_notify and by "
            f"events.keyspace. Disable push_notify in RhoConnect and list these sources in events.sources"
        )
        yield Finding(Level.BAD, "push_notify", about)
    elif pushed and (events.channels or events.streams):
        about = (
            f"changes of {', '.join(sorted(pushed))} are pushed twice if they are also published to events.channels "
            f"or events.streams"
        )
        yield Finding(Level.WARNING, "push_notify", about)


def _resque(inventory: Inventory, settings: Settings) -> Iterator[Finding]:
    queues = ", ".join(settings.resque.queues)
    if not queues:
        yield Finding(Level.GOOD, "resque", "no queue is processed")
        return
    yield Finding(Level.GOOD, "resque", f"{inventory.jobs} jobs wait in {queues}")
    if inventory.workers:
        about = (
            f"other workers take from {queues}, and push as RhoConnect does: {', '.join(inventory.workers)}"
        )
        yield Finding(Level.WARNING, "resque", about)


def _access(inventory: Inventory, settings: Settings) -> Iterator[Finding]:
    if settings.auth.devices != "off":
        about = f"{settings.auth.devices}: devices may also register at the gateway; beside a live RhoConnect, set off"
        yield Finding(Level.WARNING, "auth.devices", about)
    token = settings.api_token
    if token is not None and inventory.admin_token is not None and token.reveal() != inventory.admin_token:
        about = "has no effect: the admin's token in Redis is a different one and takes precedence"
        yield Finding(Level.WARNING, "api_token", about)


async def _shards(settings: Settings) -> list[Finding]:
    """Check the further Redis with documents: keyspace notifications come from all of them."""
    found = []
    for address in document_addresses(settings)[1:]:
        try:
            async with client(address, timeout_s=_TIMEOUT_S) as redis:
                about = await facts(redis)
        except StoreDown as error:
            found.append(Finding(Level.BAD, "redis (documents)", f"{address}: {error.message}"))
        else:
            words = f"{address}: {about.product} {about.version}"
            found.append(Finding(Level.GOOD, "redis (documents)", words))
    return found
