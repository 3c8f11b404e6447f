"""The `Args` and `Attributes` of a docstring name what the code names."""

import ast

import pytest
from rules.docstring_names import stale_docstring_names
from rules.source import Source

FUNCTION = '''
def send(token, *rest, key=None, **more):
    """Send.

    Args:
        token: whose.
        *rest: others.
        key, more: of the request.

    Returns:
        other: this is no parameter.
    """
'''
CLASS = '''
class Lane:
    """A lane.

    Args:
        name: its name.

    Attributes:
        backlog: what waits.
        size: how much.
    """

    size: int

    def __init__(self, name):
        self.backlog = [name]
'''


def found(text: str) -> list[str]:
    return [breach.message for breach in stale_docstring_names(Source("gateway/a.py", text, ast.parse(text)))]


@pytest.mark.parametrize("text", [FUNCTION, CLASS, "class Child(Lane):\n    '''A child.'''\n"])
def test_present_names_are_left_alone(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(
    ("text", "old", "new", "message"),
    [
        (FUNCTION, "token: whose", "pin: whose", "send: the docstring's Args name pin, which is none"),
        (FUNCTION, "key, more: of", "key, extra: of", "send: the docstring's Args name extra, which is none"),
        (CLASS, "name: its", "label: its", "Lane: the docstring's Args name label, which is none"),
        (CLASS, "backlog: what", "shelf: what", "Lane: the docstring's Attributes name shelf, which is none"),
        (CLASS, "size: how", "length: how", "Lane: the docstring's Attributes name length, which is none"),
    ],
)
def test_a_stale_name_is_found(text: str, old: str, new: str, message: str) -> None:
    assert found(text.replace(old, new)) == [message]
