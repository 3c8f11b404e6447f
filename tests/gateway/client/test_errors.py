"""The error of a failed ping."""

from gateway.client.errors import PingError
from gateway.errors import RhoPushError


def test_it_has_a_text_for_each_failure() -> None:
    error = PingError(["a: Unregistered", "b: expired"], "0" * 32, 503)
    assert isinstance(error, RhoPushError)
    assert error.errors == ("a: Unregistered", "b: expired")
    assert str(error) == error.message == "a: Unregistered; b: expired"
    assert (error.ping_id, error.refused_with, error.code) == ("0" * 32, 503, "ping_failed")
