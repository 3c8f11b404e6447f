"""The lines of a bulk request on the caller's side: idempotency keys, answers and order. No I/O.

Each line has an idempotency key, so that a line without an answer may be sent again: after a lost connection, or after
a temporary refusal by the gateway. Results are returned in the order of the lines.
"""

import codecs
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
        line: number of its item among all items, from 1; blank lines count.
        ping_id: id of the accepted ping; None: the line was refused.
        code, message, field: members of the error object; "" and None if the line was accepted.
        warning: the parameters of an accepted line that the gateway did not understand; "": there is none.
    """

    line: int
    ping_id: str | None = None
    code: str = ""
    message: str = ""
    field: str | None = None
    warning: str = ""


class _Line:
    __slots__ = ("data", "number", "result")

    def __init__(self, number: int, data: bytes) -> None:
        self.number = number
        self.data = data
        self.result: BulkResult | None = None


class BulkLines:
    """The lines whose results the caller has not received yet."""

    def __init__(self) -> None:
        self._lines: deque[_Line] = deque()
        self._unsent: deque[_Line] = deque()
        self._sent: deque[_Line] = deque()
        self._count = 0
        self._open = 0

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, item: BulkItem) -> None:
        """Add the caller's next item."""
        self._count += 1
        try:
            data = encode(item)
        except (TypeError, ValueError, RecursionError) as error:
            error.add_note(f"in item {self._count} of PingJob.bulk")
            raise
        if data:
            line = _Line(self._count, data)
            self._lines.append(line)
            self._unsent.append(line)
            self._open += 1

    def begin(self) -> None:
        """Begin a new request, which sends all lines without a result, in order."""
        self._sent.clear()
        self._unsent = deque(line for line in self._lines if line.result is None)

    @property
    def unsent(self) -> bool:
        """Whether there are lines to send."""
        return bool(self._unsent)

    @property
    def unanswered(self) -> bool:
        """Whether lines of this request have no answer."""
        return bool(self._unsent or self._sent)

    @property
    def waiting(self) -> bool:
        """Whether there are lines without a result, in this request or a later one."""
        return self._open > 0

    def send(self) -> bytes:
        """Return the lines to send now, as bytes, and count them as sent."""
        lines, self._unsent = self._unsent, deque()
        self._sent.extend(lines)
        return b"".join([line.data for line in lines])

    def answer(self, answer: Mapping[str, Any]) -> float | None:
        """Record the answer to the next line that was sent.

        Returns:
            Seconds after which the line must be sent again, in another request; None: the line has its result.

        Raises:
            LookupError: no sent line waits for an answer, or the answer has an unknown form.
        """
        line = self._sent.popleft()
        error = answer.get("error")
        if error is None:
            warning = str(answer.get("warning", ""))
            line.result = BulkResult(line.number, str(answer["ping_id"]), warning=warning)
            self._open -= 1
            return None
        after_s: float | None = error.get("retry_after_s")
        if after_s is None:
            line.result = BulkResult(
                line.number, None, str(error["code"]), str(error["message"]), error["field"]
            )
            self._open -= 1
        return after_s

    def take(self) -> list[BulkResult]:
        """Return and remove the results that are next in order."""
        lines, results = self._lines, []
        while lines and (result := lines[0].result) is not None:
            results.append(result)
            lines.popleft()
        return results


def encode(item: BulkItem) -> bytes:
    """Encode an item as one line with an idempotency key; b"" for a blank item. Text that is not a JSON object stays
    unchanged: the gateway reports the error.

    Raises:
        TypeError: the item is neither a mapping nor text, or JSON has no form for the type of a parameter.
    """
    if isinstance(item, Mapping):
        parameters = {name: value for name, value in item.items() if value is not None}
        return _dumped({KEY: new_key(), **parameters})
    if not isinstance(item, str | bytes | bytearray | memoryview):
        raise TypeError(f"a ping is a mapping of parameters or a line of NDJSON, not {type(item).__name__}")
    text = item.encode("utf-8", "surrogatepass") if isinstance(item, str) else bytes(item)
    raw = text.strip().removeprefix(codecs.BOM_UTF8)
    if not raw:
        return b""
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return raw.replace(b"\n", b" ") + b"\n"
    if isinstance(found, dict) and found.get(KEY) is None:
        return _dumped({**found, KEY: new_key()})
    return raw.replace(b"\n", b" ") + b"\n"


def _dumped(parameters: Mapping[str, Any]) -> bytes:
    """Return a line in its shortest form: it must not become longer than `limits.line_bytes` because of escapes."""
    try:
        return json.dumps(parameters, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
    except UnicodeEncodeError:  # an unpaired surrogate
        return json.dumps(parameters, separators=(",", ":")).encode() + b"\n"


def new_key() -> str:
    """Return a new random key."""
    return secrets.token_hex(16)
