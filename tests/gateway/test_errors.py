"""The gateway's branch of the error tree."""

from collections import Counter
from collections.abc import Iterator

from gateway import errors
from gateway.errors import BAD_DATA, RhoPushError, StoreBusy, StoreDown, StoreRefused, TooManyRequests


def classes(root: type[RhoPushError] = RhoPushError) -> Iterator[type[RhoPushError]]:
    for one in root.__subclasses__():
        if one.__module__ == errors.__name__:
            yield one
        yield from classes(one)


def test_each_error_has_its_own_code_label_and_status() -> None:
    found = set(classes())
    assert len(found) > 20
    for name in ("code", "label"):
        assert [
            value for value, times in Counter(getattr(one, name) for one in found).items() if times > 1
        ] == []
    for one in found:
        assert 400 <= one.status < 600
        assert one.retryable == (one.status in (408, 429, 503)), one


def test_a_store_error_concerns_no_key_by_default() -> None:
    for kind in (StoreDown, StoreRefused, StoreBusy):
        assert not kind("gone").of_data


def test_a_rate_limit_has_retry_after() -> None:
    error = TooManyRequests("slower", field="login", retry_after_s=7)
    assert (error.message, error.field, error.retry_after_s) == ("slower", "login", 7)
    assert TooManyRequests("slower").retry_after_s == 1


def test_an_unreachable_store_is_no_bad_data() -> None:
    assert issubclass(RecursionError, BAD_DATA)
    assert issubclass(UnicodeDecodeError, BAD_DATA)
    assert not issubclass(StoreDown, BAD_DATA)
    assert not issubclass(OSError, BAD_DATA)
