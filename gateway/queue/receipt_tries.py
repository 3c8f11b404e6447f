"""The records of a receipt, one after another: the first verdicts of a ping, then those of its chunks and retries.

`gateway.queue.receipts` joins these records to the state of each device. This module returns them separately, so that a
reader sees the devices of each retry and the provider's answer to each try.
"""

from typing import Any, Final, NamedTuple

import msgspec

from gateway.queue.entries import decoder
from gateway.queue.receipts import PingRecord, split
from gateway.store import keys
from gateway.store.connection import RedisConnection
from gateway.store.former_words import present_provider
from protocols.numbers import stored, whole
from protocols.verdict import VerdictKind

_base: Final = decoder(tuple[PingRecord, ...])
_delta: Final = decoder(PingRecord)
_VERDICTS: Final = {
    VerdictKind.ACCEPTED: "accepted",
    VerdictKind.REJECTED: "rejected",
    VerdictKind.LATER: "later",
    VerdictKind.UNKNOWN: "unknown",
}
FIRST: Final = "first"
CHUNK: Final = "chunk"
RETRY: Final = "retry"
_CHUNK_PREFIX: Final = "0-"


class Try(NamedTuple):
    """One record.

    Attributes:
        kind: `FIRST`, `CHUNK` or `RETRY`.
        at_ms: epoch ms at which its entry was put into the queue; for `FIRST`, of the first verdict of the batch; None:
            not known.
        accepted: number of accepted deliveries.
        devices: `client_id`, `provider`, `verdict` and `reason` of the devices that the record lists.
    """

    kind: str
    at_ms: int | None
    accepted: int
    devices: tuple[dict[str, Any], ...]


class ReceiptTries:
    """Reads the records of receipts.

    Args:
        connection: to the queue's Redis.
    """

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection

    async def of(self, ping_id: str) -> list[Try]:
        """The records of a ping, oldest first; none if it has no receipt, or the text is no ping's id.

        Raises:
            StoreDown: Redis did not answer.
        """
        try:
            batch, index = split(ping_id)
        except ValueError:
            return []
        key = keys.receipt(batch)
        flat = await self._connection.call("HGETALL", key)
        score = await self._connection.call("ZSCORE", keys.RECEIPTS, key)
        fields = {
            name.decode("utf-8", "replace"): value for name, value in zip(flat[::2], flat[1::2], strict=True)
        }
        first_ms = stored(score.partition(b".")[0]) if score is not None else None
        return tries(fields, index, first_ms)


def tries(fields: dict[str, bytes], index: int, first_ms: int | None) -> list[Try]:
    """The records of one ping among the fields of its batch's receipt. Records that cannot be read are left out."""
    found: list[Try] = []
    try:
        base = _base(fields["base"]) if "base" in fields else ()
    except msgspec.DecodeError:
        base = ()
    if index < len(base):
        found.append(_try(FIRST, first_ms, base[index]))
    later: list[tuple[tuple[int, ...], Try]] = []
    for name, packed in fields.items():
        number, plus, entry = name.partition("+")
        if not plus or number != str(index):
            continue
        try:
            record = _delta(packed)
        except msgspec.DecodeError:
            continue
        kind = CHUNK if entry.startswith(_CHUNK_PREFIX) else RETRY
        order = tuple(whole(part) or 0 for part in entry.split("-"))
        at_ms = whole(entry.removeprefix(_CHUNK_PREFIX).partition("-")[0])
        later.append((order, _try(kind, at_ms, record)))
    return found + [one for _, one in sorted(later, key=lambda item: item[0])]


def _try(kind: str, at_ms: int | None, record: PingRecord) -> Try:
    accepted = [
        {"client_id": client_id, "provider": present_provider(provider), "verdict": "accepted", "reason": ""}
        for client_id, provider in record.clients
    ]
    others = [
        {
            "client_id": one.client_id,
            "provider": present_provider(one.provider),
            "verdict": _VERDICTS[one.kind],
            "reason": one.reason,
        }
        for one in record.other_verdicts
    ]
    return Try(kind, at_ms, record.accepted, (*accepted, *others))
