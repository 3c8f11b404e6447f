import pytest

from gateway.change_events import standby_buffer as module
from gateway.change_events.standby_buffer import StandbyBuffer
from gateway.change_events.windows import PendingChange
from protocols.change_events import Change


def heard(name: str) -> PendingChange:
    return PendingChange(Change(("bob",), name))


def test_changes_after_the_leaders_mark_stay_buffered() -> None:
    buffer = StandbyBuffer()
    buffer.add(heard("A"))
    buffer.mark("one#1")
    buffer.add(heard("B"))
    buffer.mark("one#2")
    buffer.add(heard("C"))
    buffer.discard_before("one#1")
    assert len(buffer) == 2
    buffer.discard_before("one#1")
    buffer.discard_before("other#2")
    buffer.discard_before("")
    assert buffer.take_all() == [heard("B"), heard("C")]
    assert buffer.take_all() == []


def test_the_same_change_counts_once_a_part() -> None:
    buffer = StandbyBuffer()
    for mark in ("one#1", "one#2"):
        buffer.mark(mark)
        assert buffer.add(heard("A"))
        assert buffer.add(heard("A"))
    assert len(buffer) == 2


@pytest.mark.parametrize("most", [1, 2])
def test_a_full_part_accepts_no_change(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(module, "PART_MAX", most)
    buffer = StandbyBuffer()
    assert [buffer.add(heard(str(n))) for n in range(most + 1)] == [True] * most + [False]
    assert buffer.add(heard("0"))
