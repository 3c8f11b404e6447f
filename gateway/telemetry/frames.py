"""Messages about metrics between a worker and the supervisor: MessagePack after a length of four bytes.

| sent by | frame | meaning |
| --- | --- | --- |
| worker | `MetricsReport` | the states that changed since its last report: once a second, and on request |
| worker | `ScrapeRequest` | requests the rendered text of the whole gateway |
| supervisor | `ReportRequest` | requests a report now |
| supervisor | `Exposition` | the response to a `ScrapeRequest` |
"""

from typing import Final, Generic, TypeVar

import msgspec

from gateway.errors import ChannelBroken
from gateway.telemetry.values import Change

FRAME_BYTES_MAX: Final = 64 * 1024 * 1024
"""A longer frame is a defect: the metrics of a gateway with a thousand apps take 1 MB."""
_LENGTH_BYTES: Final = 4


class MetricsReport(msgspec.Struct, frozen=True, array_like=True, tag="report"):
    """Changed states of a worker; `number`: the number of the `ReportRequest` that it answers, 0 for none."""

    changes: tuple[Change, ...]
    number: int = 0


class ScrapeRequest(msgspec.Struct, frozen=True, array_like=True, tag="scrape"):
    """A worker's request for the rendered text; `number`: assigned by the worker."""

    number: int


class ReportRequest(msgspec.Struct, frozen=True, array_like=True, tag="request"):
    """The supervisor's request for a report; `number`: the number of the round."""

    number: int


class Exposition(msgspec.Struct, frozen=True, array_like=True, tag="exposition"):
    """The rendered text; `number`: the number of the `ScrapeRequest`."""

    number: int
    text: bytes


FromWorker = MetricsReport | ScrapeRequest
FromSupervisor = ReportRequest | Exposition
Frame = TypeVar("Frame")

_encoder: Final = msgspec.msgpack.Encoder()


def encode(frame: FromWorker | FromSupervisor) -> bytes:
    """Encode a frame with its length."""
    body = _encoder.encode(frame)
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


class Frames(Generic[Frame]):
    """Assembles frames from the chunks that a socket returns.

    Args:
        decoder: decoder of the frames that this side receives.
    """

    def __init__(self, decoder: msgspec.msgpack.Decoder[Frame]) -> None:
        self._decoder = decoder
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Add received bytes, and return the frames that are complete.

        Raises:
            ChannelBroken: the bytes are not a frame; the channel cannot be read any further.
        """
        self._rest += data
        found = []
        while len(self._rest) >= _LENGTH_BYTES:
            end = _LENGTH_BYTES + int.from_bytes(self._rest[:_LENGTH_BYTES], "big")
            if end > FRAME_BYTES_MAX:
                raise ChannelBroken(f"a frame of {end} bytes")
            if len(self._rest) < end:
                break
            body = bytes(self._rest[_LENGTH_BYTES:end])
            del self._rest[:end]
            try:
                found.append(self._decoder.decode(body))
            except msgspec.DecodeError as error:
                raise ChannelBroken(f"a frame that cannot be read: {error}") from error
        return found


def frames_from_worker() -> Frames[FromWorker]:
    """The decoder for the supervisor's side of a channel."""
    return Frames[FromWorker](msgspec.msgpack.Decoder(FromWorker))


def frames_from_supervisor() -> Frames[FromSupervisor]:
    """The decoder for a worker's side of a channel."""
    return Frames[FromSupervisor](msgspec.msgpack.Decoder(FromSupervisor))
