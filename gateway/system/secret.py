"""A secret text: it compares and hashes like a text, and prints as a mask."""

from typing import Final

_MASK: Final = "Secret(***)"


class Secret:
    """A password, key or token. Only `reveal` returns the text; repr, str and format return a mask."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text. Call it where the text is used, never to pass it on."""
        return self._text

    def __repr__(self) -> str:
        return _MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(("Secret", self._text))

    def __bool__(self) -> bool:
        return bool(self._text)

    def __reduce__(self) -> str:
        raise TypeError("a Secret cannot be pickled: use gateway.settings.to_json")
