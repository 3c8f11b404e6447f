"""Receipts, the stored delivery reports of pings: written when batches settle, read on request.

The receipts of a batch are one hash (`keys.receipt`). `base` holds one record for each ping, packed together.
Records that chunks or retries of a ping add later are stored in fields `INDEX+NAME`, in the order of the numbers
in NAME, and `INDEX:open` counts the chunks and retries that are still open.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeVar

import msgspec
import structlog

from gateway.errors import UnreadableEntry
from gateway.queue import batch_search, schedule
from gateway.queue.entries import decoder
from gateway.queue.waiting_pings import ATTEMPTS, waiting_apps
from gateway.store import keys
from gateway.store.connection import RedisConnection
from gateway.store.former_words import present_provider
from protocols.numbers import hexadecimal, stored, whole
from protocols.verdict import VerdictKind

_log = structlog.get_logger("receipts")
Packed = TypeVar("Packed")

PING_ID_LENGTH: Final = 32
_NAME_SHOWN: Final = 64
"""Most characters of a field's name in the log."""
_VERDICTS: Final = {
    VerdictKind.ACCEPTED: "accepted",
    VerdictKind.REJECTED: "rejected",
    VerdictKind.LATER: "later",
    VerdictKind.UNKNOWN: "unknown",
}


class DeviceVerdict(msgspec.Struct, frozen=True, array_like=True):
    """One device whose delivery was not simply accepted."""

    client_id: str
    provider: str
    kind: VerdictKind
    reason: str


class PingRecord(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """The result of one ping in one delivery batch.

    Attributes:
        accepted: number of deliveries that a provider accepted.
        clients: client id and provider of the accepted devices, for pings small enough to list them.
        other_verdicts: all other verdicts with their reasons; kind `later` means that the delivery is retried.
        skipped: number of omitted devices and users by reason.
        apps: the apps to which the ping was limited; None: all.
    """

    accepted: int = 0
    clients: tuple[tuple[str, str], ...] = ()
    other_verdicts: tuple[DeviceVerdict, ...] = ()
    skipped: dict[str, int] = {}
    apps: tuple[str, ...] | None = None


_encoder = msgspec.msgpack.Encoder()
_base: Final = decoder(tuple[PingRecord, ...])
_delta: Final = decoder(PingRecord)


def pack_base(records: Iterable[PingRecord]) -> bytes:
    """Encode the `base` field of a batch."""
    return _encoder.encode(tuple(records))


def pack_delta(record: PingRecord) -> bytes:
    """Encode an `INDEX+NAME` field, or the record for a waiting request."""
    return _encoder.encode(record)


def field_of(ping_index: int, stream: str, entry: str) -> str:
    """The field name of a chunk's or retry's record. Chunks sort before retries, which have later verdicts for the
    same devices; the prefix also separates ids of both streams from the same millisecond."""
    return f"{ping_index}+{'0-' if stream == keys.CHUNKS else ''}{entry}"


def report_of(ping_id: str, packed: bytes) -> dict[str, Any]:
    """The report (see `Receipts.report`) of a ping whose result is complete in one record.

    Raises:
        DecodeError: the data is not a record.
    """
    return _report(ping_id, "done", [_delta(packed)])


def split(ping_id: str) -> tuple[str, int]:
    """Split a ping id into batch id and index; ValueError if it is not a ping id."""
    if hexadecimal(ping_id, PING_ID_LENGTH) is None:
        raise ValueError("a ping id must have 32 hex digits")
    return ping_id[:28], int(ping_id[28:], 16)


class Receipts:
    """Reads the delivery reports of pings."""

    def __init__(self, connection: RedisConnection) -> None:
        self.connection: Final = connection

    async def report(self, ping_id: str) -> dict[str, Any] | None:
        """The delivery report of a ping; None if there is no such ping or its receipt has expired.

        Returns:
            `ping_id`, `state` ("scheduled": it waits until `deliver_at`, which is added; "queued": not processed
            yet; "open": deliveries are outstanding; "done"), `counts` by verdict, `skipped` by reason, and
            `devices`: client id, provider, verdict and reason; and `apps` if the ping was limited to apps.

        Raises:
            StoreDown: Redis did not answer.
        """
        try:
            batch, ping_index = split(ping_id)
        except ValueError:
            return None
        known = await self._read_report(ping_id, batch, ping_index)
        if known is None and (due_ms := await schedule.due_ms(self.connection, batch)) is not None:
            return _report(ping_id, "scheduled", []) | {"deliver_at": schedule.instant_text(due_ms)}
        if known is None and await self._is_queued(ping_id, batch):
            return _report(ping_id, "queued", [])
        # Read again, since the ping may have been settled between the two reads.
        return known or await self._read_report(ping_id, batch, ping_index)

    async def waiting_apps(self, ping_id: str) -> tuple[str, ...] | None:
        """The limit to apps of a ping that has no verdict yet; None: it has no limit, or is not found.

        Raises:
            StoreDown: Redis did not answer.
        """
        try:
            batch, ping_index = split(ping_id)
        except ValueError:
            return None
        return await waiting_apps(self.connection, batch, ping_index)

    async def _read_report(self, ping_id: str, batch: str, ping_index: int) -> dict[str, Any] | None:
        flat = await self.connection.call("HGETALL", keys.receipt(batch))
        fields: dict[str, bytes] = {
            name.decode("utf-8", "replace"): value for name, value in zip(flat[::2], flat[1::2], strict=True)
        }
        records = _records(fields, ping_index)
        is_open = stored(fields.get(f"{ping_index}:open")) > 0
        if records is None and not is_open:
            return None
        return _report(ping_id, "open" if is_open else "done", records or [])

    async def _is_queued(self, ping_id: str, batch: str) -> bool:
        """Whether the entry of the batch is still in its stream: the marker may outlive the entry and the receipt, and
        a ping may wait for longer than its marker lives."""
        markers = [keys.marker(batch, attempt) for attempt in range(ATTEMPTS)]
        for entry in await self.connection.call("MGET", *markers):
            if entry in (None, keys.VOID, keys.IN_SCHEDULE):
                continue
            for stream in (keys.PINGS, keys.BROADCASTS):
                if await self.connection.call("XRANGE", stream, entry, entry):
                    return True
        if await batch_search.is_in_stream(self.connection, keys.PINGS, batch):
            return True
        # The users of a broadcast are stored beside the queue, but so may be those of a failed append: therefore the
        # stream decides.
        return bool(
            await self.connection.call("EXISTS", keys.broadcast_users(ping_id))
        ) and await batch_search.is_in_stream(self.connection, keys.BROADCASTS, batch)


def batch_reports(batch_id: str, fields: dict[str, bytes]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The report (see `Receipts.report`) of each ping of a batch that has a verdict, or has deliveries to come.

    Args:
        batch_id: of its pings' ids.
        fields: of the batch's receipt.
    """
    base = _read(_base, fields, "base") if "base" in fields else None
    found = set(range(len(base or ())))
    later: dict[int, dict[str, bytes]] = {}
    for name, value in fields.items():
        number = whole(re.split("[+:]", name, maxsplit=1)[0], highest=keys.ENTRY_PINGS)
        if number is not None:
            later.setdefault(number, {})[name] = value
    for index in sorted(found | set(later)):
        own = later.get(index, {})
        records = [*(base or ())[index : index + 1], *(_records(own, index) or ())]
        is_open = stored(own.get(f"{index}:open")) > 0
        if records or is_open:
            yield index, _report(f"{batch_id}{index:04x}", "open" if is_open else "done", records)


def _records(fields: dict[str, bytes], ping_index: int) -> list[PingRecord] | None:
    """The base record and the later records, oldest first; None if the ping is not settled at all.

    A field that cannot be read counts as `unreadable` and is logged: the rest of the report is still valid.
    """
    records = []
    if "base" in fields:
        base = _read(_base, fields, "base")
        if base is not None and ping_index >= len(base):
            return None
        records.append(_DAMAGED if base is None else base[ping_index])
    prefix = f"{ping_index}+"
    later = sorted((name for name in fields if name.startswith(prefix)), key=_order)
    records += [_read(_delta, fields, name) or _DAMAGED for name in later]
    return records or None


_DAMAGED: Final = PingRecord(skipped={UnreadableEntry.label: 1})
"""Stands for a record that cannot be read; the rest of the receipt is still reported."""


def _read(unpack: Callable[[bytes], Packed], fields: dict[str, bytes], name: str) -> Packed | None:
    try:
        return unpack(fields[name])
    except msgspec.DecodeError as error:
        _log.warning("receipt_unreadable", field=name[:_NAME_SHOWN], error=str(error))
        return None


def _order(name: str) -> tuple[int, ...]:
    return tuple(whole(part) or 0 for part in name.partition("+")[2].split("-"))


def _report(ping_id: str, state: str, records: list[PingRecord]) -> dict[str, Any]:
    counts = {"accepted": 0, "rejected": 0, "later": 0}
    skipped: dict[str, int] = {}
    devices: dict[str, dict[str, str]] = {}
    apps = next((record.apps for record in records if record.apps is not None), None)
    for record in records:
        counts["accepted"] += record.accepted
        for reason, number in record.skipped.items():
            skipped[reason] = skipped.get(reason, 0) + number
        for client_id, provider in record.clients:
            devices[client_id] = {
                "client_id": client_id,
                "provider": present_provider(provider),
                "verdict": "accepted",
            }
        for detail in record.other_verdicts:
            devices[detail.client_id] = {
                "client_id": detail.client_id,
                "provider": present_provider(detail.provider),
                "verdict": _VERDICTS[detail.kind],
                "reason": detail.reason,
            }
    for device in devices.values():
        if device["verdict"] != "accepted":
            counts["rejected" if device["verdict"] == "rejected" else "later"] += 1
    return {
        "ping_id": ping_id,
        "state": state,
        "counts": counts,
        "skipped": skipped,
        "devices": list(devices.values()),
    } | ({} if apps is None else {"apps": list(apps)})


def joined_errors(report: dict[str, Any]) -> str:
    r"""Join the failed deliveries of a report in RhoConnect's form, by a backslash and an n (contract §1.3)."""
    failures = [
        f"{device['provider']}: {device['reason']}" for device in report["devices"] if "reason" in device
    ]
    return "\\n".join(failures)
