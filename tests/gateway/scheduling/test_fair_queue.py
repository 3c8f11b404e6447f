"""Turns of callers, and evictions at the bound."""

import random
from collections import Counter

from gateway.scheduling.fair_queue import CALLERS_IN_ORDER, FairQueue


def drained(queue: FairQueue[str]) -> list[str]:
    return [queue.take() for _ in range(len(queue))]


def test_callers_take_turns_regardless_of_their_number_of_items() -> None:
    queue: FairQueue[str] = FairQueue(100)
    for item in ("a1", "a2", "a3", "b1", "c1", "c2"):
        assert queue.put(item[0], item) is None
    assert drained(queue) == ["a1", "b1", "c1", "a2", "c2", "a3"]
    assert len(queue) == 0


def test_at_the_bound_the_caller_with_most_items_loses_one() -> None:
    queue: FairQueue[str] = FairQueue(3)
    for item in ("a1", "a2", "a3"):
        assert queue.put("a", item) is None
    assert queue.put("a", "a4") == "a4"
    assert queue.put("b", "b1") == "a3"
    assert queue.put("b", "b2") == "b2"  # it would have as many as the other
    assert drained(queue) == ["a1", "b1", "a2"]


def test_many_callers_together_delay_neither_earlier_nor_later_ones() -> None:
    queue: FairQueue[str] = FairQueue(100)
    crowd = [f"crowd{number}" for number in range(CALLERS_IN_ORDER + 1)]
    for caller in crowd:
        queue.put(caller, caller)
    queue.put("late", "late")
    assert [queue.take(), queue.take()] == ["late", crowd[0]]
    assert drained(queue) == crowd[1:], "the rest is no crowd, and comes in order"


def test_among_many_callers_each_has_one_turn_a_round() -> None:
    queue: FairQueue[str] = FairQueue(1_000)
    for number in range(200):
        queue.put("many", f"many{number}")
    for number in range(40):
        queue.put(f"crowd{number}", f"crowd{number}")
    for number in range(20):
        assert [queue.take()[0] for _ in range(2)].count("c") >= 1
        queue.put(f"later{number}", f"later{number}")
    taken = drained(queue)
    assert [name[0] for name in taken].index("c") < 5
    assert len(taken) == 240 - 40 + 20


def test_many_callers_that_fill_the_queue_give_way_to_the_newest() -> None:
    queue: FairQueue[str] = FairQueue(100)
    for number in range(100):
        assert queue.put(f"crowd{number}", f"crowd{number}") is None
    assert queue.put("late", "late") == "crowd0"
    assert queue.take() == "late"
    assert queue.put("crowd7", "more") is None
    assert queue.put("crowd7", "more still") == "more still"


def test_all_items_of_one_caller_are_taken_out() -> None:
    queue: FairQueue[str] = FairQueue(100)
    for item in ("a1", "b1", "a2"):
        queue.put(item[0], item)
    assert queue.take_all("a") == ["a1", "a2"]
    assert queue.take_all("a") == []
    assert drained(queue) == ["b1"]


def test_nothing_is_lost_or_kept_twice() -> None:
    """Compared with a plain model of the queue, over many random operations."""
    chance, queue, inside = random.Random(7), FairQueue[int](50), Counter[int]()
    for item in range(20_000):
        if chance.random() < 0.6:
            inside[item] += 1
            refused = queue.put(f"caller{chance.randrange(30)}", item)
            if refused is not None:
                inside[refused] -= 1
        elif chance.random() < 0.05:
            for taken in queue.take_all(f"caller{chance.randrange(30)}"):
                inside[taken] -= 1
        elif queue:
            inside[queue.take()] -= 1
        if item % 100 == 0:
            assert len(queue) == len(+inside) <= 50
    while queue:
        inside[queue.take()] -= 1
    assert set(inside.values()) == {0}
