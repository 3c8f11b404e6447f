"""The time since which a lane cannot send."""

from gateway.delivery.blockage import Blockage


def test_a_blockage_keeps_its_first_time_while_the_reason_changes() -> None:
    blocked = Blockage().at("no_connection", 5.0)
    assert blocked == ("no_connection", 5.0)
    assert blocked.at("Revoked", 9.0) == ("Revoked", 5.0)


def test_a_lane_that_can_send_again_has_no_blockage() -> None:
    free = Blockage("no_connection", 5.0).at(None, 7.0)
    assert free.reason is None
    assert free.at("no_connection", 9.0) == ("no_connection", 9.0)
