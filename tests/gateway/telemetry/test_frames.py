"""Frames between a worker and the supervisor, in chunks of any size."""

import msgspec
import pytest

from gateway.errors import ChannelBroken
from gateway.telemetry.frames import (
    FRAME_BYTES_MAX,
    Exposition,
    FromWorker,
    MetricsReport,
    ReportRequest,
    ScrapeRequest,
    encode,
    frames_from_supervisor,
    frames_from_worker,
)

SENT: list[FromWorker] = [
    MetricsReport((("c", ("x", "é"), (1.0, 2.5)),), 7),
    ScrapeRequest(3),
    MetricsReport(()),
]


@pytest.mark.parametrize("size", [1, 3, 4, 1000])
def test_frames_are_assembled_from_chunks(size: int) -> None:
    data = b"".join(map(encode, SENT))
    frames = frames_from_worker()
    found = [frame for at in range(0, len(data), size) for frame in frames.feed(data[at : at + size])]
    assert found == SENT


def test_the_supervisors_frames() -> None:
    sent = [ReportRequest(1), Exposition(2, b"text")]
    assert frames_from_supervisor().feed(b"".join(map(encode, sent))) == sent


@pytest.mark.parametrize(
    "data",
    [
        (FRAME_BYTES_MAX + 1).to_bytes(4, "big"),
        b"\0\0\0\x01\xc1",
        encode(ReportRequest(1)),
        (9).to_bytes(4, "big") + msgspec.msgpack.encode(["report", "x"]) + b"\0" * 20,
    ],
)
def test_anything_else_ends_the_channel(data: bytes) -> None:
    with pytest.raises(ChannelBroken):
        frames_from_worker().feed(data)
