"""The settlement of a batch: which receipts, retries and notifications Redis stores once every delivery has a verdict.

No I/O: `gateway.queue.consumer.Streams` writes the settlement in one step.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from gateway.clock import SHARED
from gateway.delivery.batch import ACCEPTED, Unit
from gateway.queue.consumer import ReceiptField, Retry, Settlement, UsedChunk, Waiting
from gateway.queue.entries import Piece
from gateway.queue.receipts import Record, field_of, pack_base, pack_delta
from gateway.store import keys
from protocols.ping.model import Ping

_LISTED_MAX: Final = 200
"""Accepted devices listed one by one in a receipt; of more only the number is kept."""


def settlement(unit: Unit) -> Settlement:
    """What settling a finished unit writes."""
    key = keys.receipt(unit.batch)
    whole = unit.lease.stream == keys.PINGS
    records = _records(unit)
    retries = list(_retries(unit)) if unit.postponed else []
    opened = [0] * len(records)
    for retry in retries:
        opened[int(retry.piece.ping.id[28:], 16) - unit.first_place] += 1
    for number in unit.split:
        opened[number] -= 1
    receipts = []
    if whole:
        receipts.append(ReceiptField(key, "base", pack_base(records)))
    else:
        receipts.append(
            ReceiptField(
                key, field_of(unit.first_place, unit.lease.stream, unit.lease.entry), pack_delta(records[0])
            )
        )
        opened[0] -= 1
    receipts += [
        ReceiptField(key, f"{unit.first_place + number}:open", change)
        for number, change in enumerate(opened)
        if change
    ]
    waiting = [
        Waiting(
            ping.reply_to,
            ping.id,
            key,
            f"{unit.first_place + number}:open",
            pack_delta(records[number]) if whole and not opened[number] else b"",
        )
        for number, ping in enumerate(unit.pings)
        if ping.reply_to
    ]
    unparked = [(unit.lane, len(unit.states))] if unit.lane else []
    used = [UsedChunk.of(unit.pings[0].id, unit.chunk)] if unit.chunk >= 0 else []
    used += [
        UsedChunk.of(unit.pings[number].id, 0) for number in unit.split
    ]  # what they reached is not needed again
    return Settlement(unit.lease, receipts, retries, waiting, unparked, used)


def _records(unit: Unit) -> list[Record]:
    """What became of each ping of the unit."""
    if unit.lease.stream == keys.PIECES:
        return [Record(unit.states.count(ACCEPTED), (), unit.details(0, len(unit.states)), unit.skipped[0])]
    if unit.rest:
        return [
            _record(unit, *span, skipped) for span, skipped in zip(unit.spans(), unit.skipped, strict=True)
        ]
    # The hot path: everything was accepted.
    chosen, most = unit.chosen, _listed(unit)
    return [
        Record(last - first, tuple(chosen[first : min(last, first + most)]), (), skipped)
        for (first, last), skipped in zip(unit.spans(), unit.skipped, strict=True)
    ]


def _record(unit: Unit, first: int, last: int, skipped: dict[str, int]) -> Record:
    accepted = [unit.chosen[place] for place in range(first, last) if unit.states[place] == ACCEPTED]
    return Record(len(accepted), tuple(accepted[: _listed(unit)]), unit.details(first, last), skipped)


def _listed(unit: Unit) -> int:
    """How many accepted devices are named. A retry names all: each was reported as `later` before."""
    return len(unit.states) if unit.lease.stream == keys.RETRIES else _LISTED_MAX


def _retries(unit: Unit) -> Iterator[Retry]:
    """Postponed sends of one ping, delay and lane go on the schedule as one piece."""
    groups: defaultdict[tuple[int, int, int, str], list[int]] = defaultdict(list)
    for place, later in unit.postponed.items():
        # By the second: a broadcast's refused sends come back as few pieces, and none before its time.
        groups[unit.ping_of(place), -(-later.due_ms // 1000), later.attempt, later.parked_in].append(place)
    now_ms = SHARED.now_ms()
    for order, ((number, due_s, attempt, lane), places) in enumerate(groups.items()):
        ping: Ping = unit.pings[number]
        clients = tuple(unit.chosen[place][0] for place in places)
        # What is only parked was not tried.
        first_ms = SHARED.corrected(unit.first_ms) or (0 if lane else now_ms)
        piece = Piece(ping, -1, clients, attempt, first_ms, lane, unit.bulk)
        name = f"{unit.lease.stream.rpartition(':')[2]}:{unit.lease.entry}.{order}"
        yield Retry(name, due_s * 1000, piece, lane)
