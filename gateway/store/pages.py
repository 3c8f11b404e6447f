"""The size of a page of a list that is stored in Redis, as a caller asked for it."""

from protocols.errors import InvalidField
from protocols.numbers import whole


def page_size(limit: object, default: int, most: int) -> int:
    """Return the most elements that a page may have.

    Args:
        limit: the parameter as the caller sent it: a number or its text; None: it is absent.
        default: the size of a page if the parameter is absent.
        most: the largest size that is allowed.

    Raises:
        InvalidField: the parameter is not a whole number from 1 to `most`.
    """
    if limit is None:
        return default
    number = whole(str(limit), 1, most) if isinstance(limit, str | int) else None
    if number is None:
        raise InvalidField(f"limit must be a whole number from 1 to {most}", field="limit")
    return number
