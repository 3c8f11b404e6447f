"""Error replies of Redis: lasting ones, those about a key, and temporary ones."""

import pytest

from gateway.errors import StoreDown, StoreRefused
from gateway.store.lua import BAD_VALUE
from gateway.store.replies import ConnectionLost, RedisReplyError, RedisReplyRefused, reply_error


@pytest.mark.parametrize(
    "words", ["NOPERM User x has no permissions", "WRONGPASS invalid", "NOAUTH Authentication required."]
)
def test_a_lasting_error_is_a_refusal(words: str) -> None:
    error = reply_error(words)
    assert isinstance(error, RedisReplyRefused)
    assert isinstance(error, StoreRefused)
    assert (error.words, error.label) == (words, "store_refused")


@pytest.mark.parametrize(
    ("words", "for_now", "of_data"),
    [
        ("OOM command not allowed", True, False),
        ("MISCONF Redis is configured to save", True, False),
        ("NOREPLICAS Not enough good replicas", True, False),
        ("WRONGTYPE Operation against a key", False, True),
        ("ERR value is not an integer or out of range", False, True),
        (f"ERR {BAD_VALUE} in a key", False, True),
        ("LOADING Redis is loading", False, False),
    ],
)
def test_another_error_is_of_the_moment_or_of_a_key(words: str, for_now: bool, of_data: bool) -> None:
    error = reply_error(words)
    assert type(error) is RedisReplyError
    assert (error.for_now, error.of_data) == (for_now, of_data)


def test_an_error_is_one_line() -> None:
    assert "\n" not in reply_error("ERR first\r\nsecond").message


@pytest.mark.parametrize("sent", [True, False])
def test_a_lost_connection_records_whether_the_command_was_sent(sent: bool) -> None:
    error = ConnectionLost("gone", sent=sent)
    assert isinstance(error, StoreDown)
    assert (error.sent, error.label, error.of_data) == (sent, "redis_connection_lost", False)
