import io

import pytest

from gateway.bench import golang
from gateway.bench.errors import CannotMeasure
from gateway.bench.peers import Peers
from gateway.system.progress import Progress


def test_a_peer_that_cannot_be_measured_is_noted_with_its_reason_and_tried_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried = []

    def build(name: str) -> None:
        tried.append(name)
        raise CannotMeasure(f"{name} does not build: no disk")

    monkeypatch.setattr(golang, "build", build)
    peers = Peers(Progress(io.StringIO()), 4)
    assert peers.missing("gorush", "gorush_hundreds") == ()
    for name in ("gorush", "gorush", "gorush_hundreds"):
        assert peers.optional(name) is None
    assert tried == ["gorush", "gorush"]
    assert peers.missing("gorush", "gorush_hundreds") == (
        "a peer is missing: gorush does not build: no disk",
    )


def test_a_peer_is_measured_once_or_anew_at_request(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = iter(range(5))
    monkeypatch.setattr(Peers, "_gorush", lambda *_: next(measured))
    peers = Peers(Progress(io.StringIO()), 4)
    assert [peers.optional("gorush_hundreds") for _ in range(2)] == [0, 0]
    assert [peers.anew("gorush_hundreds") for _ in range(2)] == [1, 2]
    assert peers.optional("gorush_hundreds") == 2
