"""Receipts, the stored delivery reports of pings: written when batches settle, read on request.

The receipts of a batch are one hash (`keys.receipt`). `base` holds one record for each ping, packed together.
Records that chunks or retries of a ping add later are stored in fields `INDEX+NAME`, in the order of the numbers
in NAME, and `INDEX:open` counts the chunks and retries that are still open. `INDEX:cancelled` exists once the ping
was cancelled.

The users and devices that a cancelled ping leaves out are in the receipt as a number (`PingRecord.skipped`), or, where
the devices were chosen already, as rejections for the reason `CANCELLED`. The report counts both as skipped.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeVar

import msgspec
import structlog

from gateway.errors import UnreadableEntry
from gateway.queue import batch_search, schedule
from gateway.queue.effects import add_effects
from gateway.queue.entries import decoder, leases_of
from gateway.queue.scheduled_batch import read_scheduled
from gateway.queue.waiting_pings import ATTEMPTS, has_ping, waiting_apps
from gateway.store import keys
from gateway.store.connection import RedisConnection
from gateway.store.former_words import present_provider
from protocols.devices import add_skipped
from protocols.instants import instant_text
from protocols.numbers import hexadecimal, stored, whole
from protocols.verdict import VerdictKind

_log = structlog.get_logger("receipts")
Packed = TypeVar("Packed")

PING_ID_LENGTH: Final = 32
SCHEDULED: Final = "scheduled"
QUEUED: Final = "queued"
OPEN: Final = "open"
DONE: Final = "done"
CANCELLED: Final = "cancelled"
"""The states of a ping. `CANCELLED` is also the reason for which the devices of such a ping are left out."""
FINISHED: Final = frozenset({DONE, CANCELLED})
"""The states of a ping that has all of its verdicts."""
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


def field_of_broadcast(entry: str, number: int) -> str:
    """The field name of a record that belongs to the entry of a broadcast itself. The number at its end separates it
    from a record of a chunk, whose stream may have an entry with the same id."""
    return f"{field_of(0, keys.CHUNKS, entry)}-{number}"


def report_of(ping_id: str, packed: bytes) -> dict[str, Any]:
    """The report (see `Receipts.report`) of a ping whose result is complete in one record.

    Raises:
        DecodeError: the data is not a record.
    """
    return _report(ping_id, [_delta(packed)])


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
            yet; "open": deliveries are outstanding; "done"; "cancelled": finished, and it was cancelled), `counts` by
            verdict, `skipped` by reason, `devices`: client id, provider, verdict and reason, and `apps` if the ping
            was limited to apps.

        Raises:
            StoreDown: Redis did not answer.
        """
        try:
            batch, ping_index = split(ping_id)
        except ValueError:
            return None
        known = await self._read_report(ping_id, batch, ping_index)
        if known is None and (due_ms := await schedule.due_ms(self.connection, batch)) is not None:
            limit = await self._scheduled_limit(batch, ping_index)
            if limit is None:
                return None
            return _blank(ping_id, SCHEDULED) | {"deliver_at": instant_text(due_ms)} | limit
        if known is None and await self._is_queued(ping_id, batch, ping_index):
            return _blank(ping_id, QUEUED)
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
        report = _report_of_fields(ping_id, fields, ping_index, _records(fields, ping_index))
        return report and add_effects(report, fields, ping_index)

    async def _scheduled_limit(self, batch: str, ping_index: int) -> dict[str, Any] | None:
        """The member `apps` of the report of a ping on the schedule, if it has a limit; None: the batch does not have
        the ping, or it is cancelled."""
        try:
            found = await read_scheduled(self.connection, batch)
        except UnreadableEntry:  # a worker quarantines it when it is due
            return {}
        if found is None:  # released meanwhile
            return {}
        if not found.has(ping_index):
            return None
        apps = found.entry.pings[ping_index].apps
        return {} if apps is None else {"apps": list(apps)}

    async def _is_queued(self, ping_id: str, batch: str, ping_index: int) -> bool:
        """Whether the entry of the batch is still in its stream, with this ping: the marker may outlive the entry and
        the receipt, and a ping may wait for longer than its marker lives."""
        markers = [keys.marker(batch, attempt) for attempt in range(ATTEMPTS)]
        for entry in await self.connection.call("MGET", *markers):
            if entry in (None, keys.VOID, keys.IN_SCHEDULE):
                continue
            for stream in (keys.PINGS, keys.BROADCASTS):
                if found := await self.connection.call("XRANGE", stream, entry, entry):
                    return has_ping(leases_of(stream, found, redelivered=True), ping_index)
        if entry := await batch_search.find_entry(self.connection, keys.PINGS, batch):
            found = await self.connection.call("XRANGE", keys.PINGS, entry, entry)
            if found:
                return has_ping(leases_of(keys.PINGS, found, redelivered=True), ping_index)
        # The users of a broadcast are stored beside the queue, but those of a failed append may be stored there, too:
        # therefore only the stream counts.
        if not await self.connection.call("EXISTS", keys.broadcast_users(ping_id)):
            return False
        return await batch_search.find_entry(self.connection, keys.BROADCASTS, batch) is not None


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
        report = _report_of_fields(f"{batch_id}{index:04x}", own, index, records)
        if report is not None:
            yield index, report


def _report_of_fields(
    ping_id: str, fields: dict[str, bytes], ping_index: int, records: list[PingRecord] | None
) -> dict[str, Any] | None:
    """The report of a ping from its fields in the receipt and its records; None if the receipt does not contain the
    ping."""
    is_open = stored(fields.get(f"{ping_index}:open")) > 0
    is_cancelled = f"{ping_index}:cancelled" in fields
    if is_open or (is_cancelled and not records):
        return _report(ping_id, records or []) | {"state": OPEN}
    if not records:
        return None
    report = _report(ping_id, records)
    return report | {"state": CANCELLED} if is_cancelled else report


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


def _report(ping_id: str, records: list[PingRecord]) -> dict[str, Any]:
    """The report of a finished ping; its devices and counts are also those of a ping that is not finished."""
    report = _blank(ping_id, DONE)
    skipped: dict[str, int] = report["skipped"]
    counts: dict[str, int] = report["counts"]
    for record in records:
        counts["accepted"] += record.accepted
        for reason, number in record.skipped.items():
            skipped[reason] = skipped.get(reason, 0) + number
    devices = _devices(records)
    for device in devices:
        if device["verdict"] == CANCELLED:
            add_skipped(skipped, CANCELLED)
        elif device["verdict"] != "accepted":
            counts["rejected" if device["verdict"] == "rejected" else "later"] += 1
    if skipped.get(CANCELLED):
        report["state"] = CANCELLED
    report["devices"] = devices
    apps = next((record.apps for record in records if record.apps is not None), None)
    return report if apps is None else report | {"apps": list(apps)}


def _devices(records: list[PingRecord]) -> list[dict[str, str]]:
    """The latest verdict on each device that the records name."""
    devices: dict[str, dict[str, str]] = {}
    for record in records:
        for client_id, provider in record.clients:
            devices[client_id] = _device(client_id, provider, _VERDICTS[VerdictKind.ACCEPTED])
        for detail in record.other_verdicts:
            if _is_cancelled(detail):
                known = devices.get(detail.client_id, {}).get("provider", "")
                devices[detail.client_id] = _device(detail.client_id, detail.provider or known, CANCELLED)
            else:
                device = _device(detail.client_id, detail.provider, _VERDICTS[detail.kind])
                devices[detail.client_id] = device | {"reason": detail.reason}
    return list(devices.values())


def _blank(ping_id: str, state: str) -> dict[str, Any]:
    """The report of a ping without verdicts."""
    counts = {"accepted": 0, "rejected": 0, "later": 0}
    return {"ping_id": ping_id, "state": state, "counts": counts, "skipped": {}, "devices": []}


def _device(client_id: str, provider: str, verdict: str) -> dict[str, str]:
    return {"client_id": client_id, "provider": present_provider(provider), "verdict": verdict}


def _is_cancelled(detail: DeviceVerdict) -> bool:
    return detail.kind == VerdictKind.REJECTED and detail.reason == CANCELLED


def joined_errors(report: dict[str, Any]) -> str:
    r"""Join the failed deliveries of a report in RhoConnect's form, by a backslash and an n (contract §1.3).

    The users and devices that a cancelled ping left out are one more failure, the last one.
    """
    failures = [
        f"{device['provider']}: {device['reason']}" for device in report["devices"] if "reason" in device
    ]
    if left_out := report.get("skipped", {}).get(CANCELLED):
        failures.append(f"{CANCELLED}: {left_out} not sent")
    return "\\n".join(failures)
