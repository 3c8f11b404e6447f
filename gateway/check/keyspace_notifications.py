"""Check that Redis sends the keyspace notifications that `events.keyspace` needs."""

from typing import Final

from redis.exceptions import RedisError

from gateway.check.findings import Finding, Level
from gateway.errors import StoreRefused
from gateway.settings import Settings
from gateway.store.address import RedisAddress, document_addresses
from gateway.store.client_factory import as_text, client
from gateway.store.error_replies import to_store_error
from gateway.store.error_text import error_text
from protocols.change_events import missing_flags

_TIMEOUT_S: Final = 5.0
_OPTION: Final = "notify-keyspace-events"
_SUBJECT: Final = "events.keyspace"


async def check_keyspace_notifications(settings: Settings) -> list[Finding]:
    """Return a finding for each Redis with documents. The gateway configures the embedded store itself."""
    if settings.events.keyspace == "off" or settings.redis is None:
        return []
    return [await _check_server(address, settings) for address in document_addresses(settings)]


async def _check_server(address: RedisAddress, settings: Settings) -> Finding:
    configures = settings.events.keyspace == "configure"
    try:
        async with client(address, timeout_s=_TIMEOUT_S) as redis:
            found = await redis.config_get(_OPTION)
    except (RedisError, OSError) as error:
        failure = to_store_error(error, f"Redis does not answer: it {error_text(error)}")
        if not isinstance(failure, StoreRefused):
            return Finding(Level.BAD, _SUBJECT, f"{address}: {failure.message}")
        level = Level.BAD if configures else Level.WARNING
        text = (
            f"{address}: CONFIG GET {_OPTION} is refused, so it is not certain that Redis sends them: "
            f"{failure.message}"
        )
        return Finding(level, _SUBJECT, text)
    value = next((as_text(value or "") for value in found.values()), "")
    missing = missing_flags(value)
    if not missing:
        return Finding(Level.GOOD, _SUBJECT, f"{address} sends keyspace notifications ({_OPTION} {value})")
    if configures:
        return Finding(Level.GOOD, _SUBJECT, f"{address}: serve adds {missing} to {_OPTION}")
    text = (
        f"{address} does not send them: set {_OPTION} to {value + missing}, or events.keyspace to configure"
    )
    return Finding(Level.BAD, _SUBJECT, text)
