import pytest

from gateway.change_events import standby_buffer as module
from gateway.change_events.standby_buffer import Shelf
from gateway.change_events.windows import Heard
from protocols.change_events import Change


def heard(name: str) -> Heard:
    return Heard(Change(("bob",), name))


def test_what_is_behind_the_writers_mark_is_kept() -> None:
    shelf = Shelf()
    shelf.put(heard("A"))
    shelf.mark("one#1")
    shelf.put(heard("B"))
    shelf.mark("one#2")
    shelf.put(heard("C"))
    shelf.forget("one#1")
    assert len(shelf) == 2
    shelf.forget("one#1")
    shelf.forget("other#2")
    shelf.forget("")
    assert shelf.take() == [heard("B"), heard("C")]
    assert shelf.take() == []


def test_the_same_change_counts_once_a_part() -> None:
    shelf = Shelf()
    for mark in ("one#1", "one#2"):
        shelf.mark(mark)
        assert shelf.put(heard("A"))
        assert shelf.put(heard("A"))
    assert len(shelf) == 2


@pytest.mark.parametrize("most", [1, 2])
def test_a_full_part_takes_nothing_new(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(module, "PART_MAX", most)
    shelf = Shelf()
    assert [shelf.put(heard(str(n))) for n in range(most + 1)] == [True] * most + [False]
    assert shelf.put(heard("0"))
