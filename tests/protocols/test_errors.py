"""The root of the error tree, and the errors about inputs."""

from collections.abc import Iterator

from protocols import errors
from protocols.errors import InputError, InvalidField, NoAccessToken, RhoPushError


def classes(root: type[RhoPushError] = RhoPushError) -> Iterator[type[RhoPushError]]:
    for one in root.__subclasses__():
        if one.__module__ == errors.__name__:
            yield one
        yield from classes(one)


def test_a_message_and_the_field_at_fault_are_kept() -> None:
    error = InvalidField("badge must be a number", field="badge")
    assert (str(error), error.message, error.field) == ("badge must be a number",) * 2 + ("badge",)
    assert RhoPushError("x").field is None


def test_an_input_is_the_callers_fault_and_no_other_try_helps() -> None:
    inputs = [one for one in classes() if issubclass(one, InputError)]
    assert len(inputs) > 5
    for one in inputs:
        assert 400 <= one.status < 500
        assert not one.retryable
    assert (NoAccessToken.status, NoAccessToken.retryable) == (503, True)


def test_each_error_has_its_own_code() -> None:
    codes = [one.code for one in classes()]
    assert len(set(codes)) == len(codes)
