"""Jobs as RhoConnect queues them: `{"class": "Rhoconnect::PingJob", "args": [{parameters}]}` (contract §3.2)."""

import re
from typing import Any, Final

import msgspec

from protocols.errors import InvalidField, MalformedBody, RhoPushError
from protocols.json_syntax import find_fault
from protocols.ping import Ping, from_params
from protocols.ping.limits import is_deeper
from protocols.ping.model import RESQUE
from protocols.ping.overrides import NO_RULES, AdditionRules

CLASSES: Final = ("Rhoconnect::PingJob", "PingJob")
"""Job classes of pings. RhoConnect always writes the first; its documentation shows the second."""
SHOWN_CHARACTERS: Final = 1_000
"""Characters of an unreadable item that are shown in its failure record."""

_TOKEN: Final = re.compile(r'("api_token"\s*:\s*")(?:[^"\\]|\\.)*')
"""The API token in the text of a job, up to its end or that of the text."""
_decode: Final = msgspec.json.Decoder(Any).decode
_encode: Final = msgspec.json.Encoder().encode


class Job(msgspec.Struct, frozen=True):
    """A parsed item of a queue.

    Attributes:
        ping: the ping that it requests.
        unknown: names of parameters that were not understood.
        deliver_at_ms: as in `Submission`.
    """

    ping: Ping
    unknown: tuple[str, ...] = ()
    deliver_at_ms: int | None = None


def parse(item: bytes, rules: AdditionRules = NO_RULES) -> Job:
    """Parse an item. `rules`: as of `from_params`.

    Raises:
        MalformedBody: it is not JSON, not a `PingJob`, or its arguments are not one hash of parameters.
        InvalidField: a parameter has a wrong type or value.
    """
    try:
        job = _decode(item)
    except (ValueError, RecursionError) as error:
        raise MalformedBody(f"the job is not JSON: {find_fault(item).text}") from error
    if not isinstance(job, dict) or not isinstance(job.get("class"), str):
        raise MalformedBody("the job has no class")
    if job["class"] not in CLASSES:
        raise MalformedBody(f"the job's class is {job['class'][:100]!r}, which this worker does not process")
    args = job.get("args")
    if not isinstance(args, list) or len(args) != 1 or not isinstance(args[0], dict):
        raise MalformedBody("the job's args must be a list with one hash of parameters")
    read = from_params(args[0], rules)
    if read.explain is not None:
        raise InvalidField("a job must not have explain: it has no caller to answer", field="explain")
    return Job(msgspec.structs.replace(read.ping, ingress=RESQUE), read.unknown, read.deliver_at_ms)


def shown(item: bytes) -> dict[str, Any]:
    """The `payload` of a failure, which Resque's web page shows and queues again on *Retry*.

    The API token that RhoConnect leaves among the parameters is removed: no job needs it. Of a job that cannot be
    written again (numbers beyond 64 bits, deep nesting), the beginning of its text is shown.
    """
    try:
        job = _decode(item)
        if not isinstance(job, dict) or not isinstance(job.get("args"), list) or is_deeper(job):
            return _shown_as_text(item)
        args = [_without_token(argument) for argument in job["args"]]
        payload = {"class": str(job.get("class", CLASSES[0]))[:SHOWN_CHARACTERS], "args": args}
        _encode(payload)
    except (ValueError, OverflowError, RecursionError):
        return _shown_as_text(item)
    return payload


def _shown_as_text(item: bytes) -> dict[str, Any]:
    text = item[:SHOWN_CHARACTERS].decode("utf-8", "replace")
    return {"class": CLASSES[0], "args": [_TOKEN.sub(r"\1***", text)]}


def _without_token(argument: Any) -> Any:
    if not isinstance(argument, dict):
        return argument
    return {name: value for name, value in argument.items() if name != "api_token"}


def reason(error: RhoPushError) -> str:
    """A readable error: the problem and its position."""
    return f"{error.field}: {error.message}" if error.field else error.message
