"""The events of one ping, and how far each endpoint has received them.

The receipt of the ping names the records of the outbox that have its events (`gateway.queue.outbox`). The messages are
formed as for their delivery; the cursor of an endpoint shows which of them it has accepted.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from gateway.queue.outbox import RECORD_FIELD
from gateway.queue.receipts import split
from gateway.settings import WebhookSettings
from gateway.store import keys
from gateway.store.connection import RedisConnection
from gateway.webhooks.endpoint_state import EndpointState, EndpointStates
from gateway.webhooks.outbox import SECOND_MS, Outbox, StoredRecord, event_record
from protocols.instants import instant_text
from protocols.webhooks.events import Message, messages_of
from protocols.webhooks.progress import position

RECORDS_MAX: Final = 20
"""Most records of one ping that are read, the newest: a broadcast or a ping with many retries has more."""
DELIVERED: Final = "delivered"
WAITING: Final = "waiting"
FAILING: Final = "failing"
DISABLED: Final = "disabled"


class KnownEndpoint(NamedTuple):
    """An endpoint of the settings, and the digest of its settings (`endpoint_delivery.digest_of`)."""

    settings: WebhookSettings
    digest: str


class PingEvents:
    """Finds the events of pings.

    Args:
        connection: the queue's Redis.
        outbox: the outbox there.
        states: the states of the endpoints.
    """

    def __init__(self, connection: RedisConnection, outbox: Outbox, states: EndpointStates) -> None:
        self._connection = connection
        self._outbox = outbox
        self._states = states

    async def of(self, ping_id: str, endpoints: Mapping[str, KnownEndpoint]) -> list[dict[str, Any]]:
        """Return one row for each endpoint and message with events of a ping, in the order of the messages.

        Returns:
            `endpoint`, `type`, `id` of the message, `at`, `state` (`DELIVERED`, `WAITING`, `FAILING`: the endpoint
            fails, and the message is repeated; `DISABLED`), and while the endpoint fails `error` and `next_attempt`.

        Raises:
            StoreDown: Redis does not answer.
        """
        seconds = await self._seconds(ping_id) if endpoints else ()
        if not seconds:
            return []
        states = {name: await self._states.read(name) for name in sorted(endpoints)}
        return [
            row
            for records in seconds
            for name, state in states.items()
            for row in _rows(name, endpoints[name], state, records, ping_id)
        ]

    async def _seconds(self, ping_id: str) -> Sequence[Sequence[StoredRecord]]:
        """Return all records of each second with an event of the ping."""
        try:
            batch, _ = split(ping_id)
        except ValueError:
            return ()
        names = (await self._connection.call("HGETALL", keys.receipt(batch)))[::2]
        prefix = RECORD_FIELD.encode()
        found = [
            name.removeprefix(prefix).decode("ascii", "replace") for name in names if name.startswith(prefix)
        ]
        newest = sorted(map(position, found))[-RECORDS_MAX:]
        seconds = sorted({at_ms // SECOND_MS for at_ms, _ in newest if at_ms})
        return [records for second in seconds if (records := await self._outbox.records_of(second))]


def _rows(
    name: str,
    endpoint: KnownEndpoint,
    state: EndpointState,
    records: Sequence[StoredRecord],
    ping_id: str,
) -> list[dict[str, Any]]:
    """Return the rows of one endpoint and one second."""
    wanted, disabled = frozenset(endpoint.settings.events), state.disabled == endpoint.digest
    messages = messages_of([event_record(record, wanted) for record in records])
    done = position(records[-1].record) <= position(state.cursor)
    sent = [number for number, message in enumerate(messages) if message.id == state.progress.sent]
    delivered = len(messages) if done else sent[0] + 1 if sent else 0
    return [
        _row(name, state, message, delivered=number < delivered, disabled=disabled)
        for number, message in enumerate(messages)
        if message.at_ms > state.first_ms and any(event.get("ping_id") == ping_id for event in message.data)
    ]


def _row(
    name: str, state: EndpointState, message: Message, *, delivered: bool, disabled: bool
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "endpoint": name,
        "type": message.kind,
        "id": message.id,
        "at": instant_text(message.at_ms),
        "state": WAITING,
        "error": None,
        "next_attempt": None,
    }
    if delivered:
        return row | {"state": DELIVERED}
    if disabled:
        return row | {"state": DISABLED, "error": state.error or None}
    if state.attempts:
        due = instant_text(state.due_ms) if state.due_ms else None
        return row | {"state": FAILING, "error": state.error or None, "next_attempt": due}
    return row
