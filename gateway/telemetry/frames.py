"""What a worker and the supervisor send each other about metrics: MessagePack behind a length of four bytes.

| sent by | frame | meaning |
| --- | --- | --- |
| worker | `MetricsReport` | the states that have changed since its last report: once a second, and when it is asked |
| worker | `ScrapeRequest` | asks for the rendered text of the whole gateway |
| supervisor | `ReportRequest` | asks for a report now |
| supervisor | `Exposition` | the answer to a `ScrapeRequest` |
"""

from typing import Final, Generic, TypeVar

import msgspec

from gateway.errors import ChannelBroken
from gateway.telemetry.values import Change

FRAME_BYTES_MAX: Final = 64 * 1024 * 1024
"""A longer frame is a defect: the metrics of a gateway with a thousand apps take 1 MB."""
_LENGTH_BYTES: Final = 4


class MetricsReport(msgspec.Struct, frozen=True, array_like=True, tag="report"):
    """Changed states of a worker; `number`: of the `ReportRequest` that it answers, 0 for none."""

    changes: tuple[Change, ...]
    number: int = 0


class ScrapeRequest(msgspec.Struct, frozen=True, array_like=True, tag="scrape"):
    """A worker's wish for the rendered text; `number`: the worker's own."""

    number: int


class ReportRequest(msgspec.Struct, frozen=True, array_like=True, tag="request"):
    """The supervisor's wish for a report; `number`: of the round."""

    number: int


class Exposition(msgspec.Struct, frozen=True, array_like=True, tag="exposition"):
    """The rendered text; `number`: of the `ScrapeRequest`."""

    number: int
    text: bytes


FromWorker = MetricsReport | ScrapeRequest
FromSupervisor = ReportRequest | Exposition
Frame = TypeVar("Frame")

_encoder: Final = msgspec.msgpack.Encoder()


def encode(frame: FromWorker | FromSupervisor) -> bytes:
    """A frame as it is sent."""
    body = _encoder.encode(frame)
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


class Frames(Generic[Frame]):
    """Puts frames together from the pieces that a socket gives.

    Args:
        decoder: of the frames that this side receives.
    """

    def __init__(self, decoder: msgspec.msgpack.Decoder[Frame]) -> None:
        self._decoder = decoder
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are complete now.

        Raises:
            ChannelBroken: the bytes are no frame; nothing more can be read from this channel.
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
    """For the supervisor's side of a channel."""
    return Frames[FromWorker](msgspec.msgpack.Decoder(FromWorker))


def frames_from_supervisor() -> Frames[FromSupervisor]:
    """For a worker's side of a channel."""
    return Frames[FromSupervisor](msgspec.msgpack.Decoder(FromSupervisor))
