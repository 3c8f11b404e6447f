"""Reservations of requests in the budget of body bytes, and their release."""

from gateway.limits.body_budget import BodyBudget, BodyReservation

LIMIT = 80_000
SHARE = 20_000
"""Share of the callers whose token is not known to be valid."""


def test_a_caller_whose_token_was_found_valid_leaves_the_share_of_the_others() -> None:
    budget = BodyBudget(LIMIT)
    promoted = BodyReservation(budget)
    promoted.reserve(SHARE)
    assert not BodyReservation(budget).try_reserve(SHARE)
    promoted.mark_authenticated()
    assert BodyReservation(budget).try_reserve(SHARE)
    assert budget.reserved == 2 * SHARE


def test_a_second_release_has_no_effect() -> None:
    budget = BodyBudget(LIMIT)
    for authenticated in (True, False):
        kept, released = (
            BodyReservation(budget, authenticated=True),
            BodyReservation(budget, authenticated=authenticated),
        )
        kept.reserve(SHARE)
        released.reserve(SHARE)
        released.release()
        released.release()
        assert budget.reserved == SHARE
        kept.release()
        assert budget.reserved == 0
