"""Lists of names in the fields of forms: separated by commas or lines, and quoted where a name contains a separator."""

import re
from typing import Final

_NAME: Final = re.compile(r'[ \t]*(?:"((?:[^"]|"")*)"[ \t]*(?=[\r\n,]|\Z)|([^\r\n,]*))[\r\n,]*')
_UNQUOTED: Final = re.compile(r'(?!["\s])[^\r\n,]*(?<!\s)')
"""A name that needs no quotes: without a separator, a quote at its beginning, and white space at its ends."""


def names_in(text: str) -> list[str]:
    """Return the names in a text that separates them by commas or lines.

    A name in double quotes may contain separators, and each quote in it is doubled. White space around a name without
    quotes is no part of it.
    """
    found = []
    for part in _NAME.finditer(text):
        inside, plain = part.groups()
        name = plain.strip() if inside is None else inside.replace('""', '"')
        if name:
            found.append(name)
    return found


def quoted(name: str) -> str:
    """Return a name as `names_in` reads it."""
    if _UNQUOTED.fullmatch(name):
        return name
    return '"' + name.replace('"', '""') + '"'
