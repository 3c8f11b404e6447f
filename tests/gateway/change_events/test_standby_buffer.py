import pytest

from gateway.change_events import standby_buffer as module
from gateway.change_events.standby_buffer import StandbyBuffer
from gateway.change_events.windows import PendingChange
from protocols.change_events import Change


def heard(name: str) -> PendingChange:
    return PendingChange(Change(("bob",), name))


def test_what_is_behind_the_writers_mark_is_kept() -> None:
    shelf = StandbyBuffer()
    shelf.add(heard("A"))
    shelf.mark("one#1")
    shelf.add(heard("B"))
    shelf.mark("one#2")
    shelf.add(heard("C"))
    shelf.discard_before("one#1")
    assert len(shelf) == 2
    shelf.discard_before("one#1")
    shelf.discard_before("other#2")
    shelf.discard_before("")
    assert shelf.take_all() == [heard("B"), heard("C")]
    assert shelf.take_all() == []


def test_the_same_change_counts_once_a_part() -> None:
    shelf = StandbyBuffer()
    for mark in ("one#1", "one#2"):
        shelf.mark(mark)
        assert shelf.add(heard("A"))
        assert shelf.add(heard("A"))
    assert len(shelf) == 2


@pytest.mark.parametrize("most", [1, 2])
def test_a_full_part_takes_nothing_new(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(module, "PART_MAX", most)
    shelf = StandbyBuffer()
    assert [shelf.add(heard(str(n))) for n in range(most + 1)] == [True] * most + [False]
    assert shelf.add(heard("0"))
