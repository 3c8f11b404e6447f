"""What requests hold of the budget of body bytes, and that they give back as much."""

from gateway.limits.body_budget import BodyBudget, Holding

LIMIT = 80_000
SHARE = 20_000
"""Of the callers whose token is not known to be valid."""


def test_a_caller_whose_token_was_found_valid_leaves_the_share_of_the_others() -> None:
    budget = BodyBudget(LIMIT)
    promoted = Holding(budget)
    promoted.grow(SHARE)
    assert not Holding(budget).fits(SHARE)
    promoted.promote()
    assert Holding(budget).fits(SHARE)
    assert budget.held == 2 * SHARE


def test_what_is_released_twice_is_given_back_once() -> None:
    budget = BodyBudget(LIMIT)
    for judged in (True, False):
        kept, released = Holding(budget, judged=True), Holding(budget, judged=judged)
        kept.grow(SHARE)
        released.grow(SHARE)
        released.release()
        released.release()
        assert budget.held == SHARE
        kept.release()
        assert budget.held == 0
