"""The lines of a bulk request from the caller's side: keys, answers, order. Without I/O.

Each line has an idempotency key, so that a line without an answer may be sent again: after a lost connection, and where
the gateway refused it for a reason that passes. Results come in the order of the lines.
"""

import json
import secrets
from collections import deque
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

BULK_PATH: Final = "/rc/v1/pings"
MEDIA_TYPE: Final = "application/x-ndjson"
KEY: Final = "idempotency_key"

BulkItem = Mapping[str, Any] | str | bytes
"""Parameters of a ping, or a line of NDJSON."""


class BulkResult(NamedTuple):
    """The answer to one line.

    Attributes:
        line: place of its item among all items, from 1; blank lines count.
        ping_id: of the accepted ping; None: the line was refused.
        code, message, field: of the error object; "" and None where the line was accepted.
    """

    line: int
    ping_id: str | None = None
    code: str = ""
    message: str = ""
    field: str | None = None


class _Line:
    __slots__ = ("data", "number", "result")

    def __init__(self, number: int, data: bytes) -> None:
        self.number = number
        self.data = data
        self.result: BulkResult | None = None


class BulkLines:
    """The lines whose results the caller does not have yet."""

    def __init__(self) -> None:
        self._lines: deque[_Line] = deque()
        self._unsent: deque[_Line] = deque()
        self._sent: deque[_Line] = deque()
        self._count = 0

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, item: BulkItem) -> None:
        """Add the caller's next item."""
        self._count += 1
        data = encode(item)
        if data:
            line = _Line(self._count, data)
            self._lines.append(line)
            self._unsent.append(line)

    def begin(self) -> None:
        """A new request: all lines without a result are to be sent, in order."""
        self._sent.clear()
        self._unsent = deque(line for line in self._lines if line.result is None)

    @property
    def unsent(self) -> bool:
        """Whether lines are to be sent."""
        return bool(self._unsent)

    @property
    def unanswered(self) -> bool:
        """Whether lines have no result."""
        return bool(self._unsent or self._sent)

    def send(self) -> bytes:
        """All that is to be sent now."""
        lines, self._unsent = self._unsent, deque()
        self._sent.extend(lines)
        return b"".join([line.data for line in lines])

    def answer(self, answer: Mapping[str, Any]) -> float | None:
        """Take the answer to the next line that was sent.

        Returns:
            Seconds after which the line is to be sent again, in another request; None: it has its result.

        Raises:
            LookupError: no line was sent, or the answer is none.
        """
        line = self._sent.popleft()
        error = answer.get("error")
        if error is None:
            line.result = BulkResult(line.number, str(answer["ping_id"]))
            return None
        after_s: float | None = error.get("retry_after_s")
        if after_s is None:
            line.result = BulkResult(
                line.number, None, str(error["code"]), str(error["message"]), error["field"]
            )
        return after_s

    def take(self) -> list[BulkResult]:
        """The results that are next in order."""
        lines, results = self._lines, []
        while lines and (result := lines[0].result) is not None:
            results.append(result)
            lines.popleft()
        return results


def encode(item: BulkItem) -> bytes:
    """Encode an item as one line with an idempotency key; b"" for a blank item. Text that is not a JSON object is
    kept."""
    if isinstance(item, Mapping):
        said = {name: value for name, value in item.items() if value is not None}
        return json.dumps({KEY: new_key(), **said}).encode() + b"\n"
    raw = (item.encode() if isinstance(item, str) else bytes(item)).strip()
    if not raw:
        return b""
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return raw.replace(b"\n", b" ") + b"\n"
    if isinstance(found, dict) and found.get(KEY) is None:
        return json.dumps({**found, KEY: new_key()}).encode() + b"\n"
    return raw.replace(b"\n", b" ") + b"\n"


def new_key() -> str:
    """A key that no other line has."""
    return secrets.token_hex(16)
