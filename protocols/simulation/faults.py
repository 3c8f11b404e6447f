"""Scripted faults: one small language for Python, the command line and tests.

A fault is written `WHAT[=ARGUMENT][:WHO]`, on the command line with the provider before it (`apns:410:token=dead`).
WHAT is a word of `FAULT_ACTIONS`, an HTTP status, or a reason by the provider's own name (`Unregistered`,
`QUOTA_EXCEEDED`). WHO limits it to some requests, with selectors separated by commas: `token=PREFIX` (or the bare
prefix), `after=N` (not for the first N requests), `every=N` (only each Nth), `next=N` (N times, then never again).

The first fault that matches a request decides; each fault counts only the requests that match its token prefix.
"""

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Final, NamedTuple

from protocols.errors import InvalidField
from protocols.numbers import whole


class FaultAction(Enum):
    """The effect of a fault on a request."""

    SEND = "send"  # the answer is sent
    DELAY = "delay"  # the answer is sent later
    SILENCE = "silence"
    REFUSE = "refuse"
    RESET = "reset"
    GOAWAY = "goaway"
    CUT = "cut"
    LIMIT = "limit"


class FaultActionRule(NamedTuple):
    """Parsing rules of one word of the fault language.

    Attributes:
        takes: the meaning of the argument; "" if there is none.
        default: the argument if none is written.
        number: whether the argument is a whole number, 0 or more.
        once: whether it happens once unless `next=` or `every=` is given, since an endless GOAWAY would block all
            requests.
        help: one line for `--help`.
    """

    takes: str
    default: str
    number: bool
    once: bool
    help: str


FAULT_ACTIONS: Final[dict[FaultAction, FaultActionRule]] = {
    FaultAction.DELAY: FaultActionRule(
        "MS", "1000", True, False, "answer correctly, but MS milliseconds late"
    ),
    FaultAction.SILENCE: FaultActionRule("", "", False, False, "never answer this request"),
    FaultAction.REFUSE: FaultActionRule(
        "", "", False, False, "RST_STREAM with REFUSED_STREAM: not processed (RFC 9113 §8.7)"
    ),
    FaultAction.RESET: FaultActionRule(
        "CODE", "2", True, False, "RST_STREAM with an error CODE; 2 is INTERNAL_ERROR"
    ),
    FaultAction.GOAWAY: FaultActionRule(
        "REASON",
        "Shutdown",
        False,
        True,
        "GOAWAY before this request: it and all later ones are not processed",
    ),
    FaultAction.CUT: FaultActionRule("", "", False, True, "abort the connection"),
    FaultAction.LIMIT: FaultActionRule(
        "N", "1", True, True, "set SETTINGS_MAX_CONCURRENT_STREAMS to N, then answer correctly"
    ),
}
"""The words that are not answers. The argument of an answer: milliseconds for 410 (its timestamp), else Retry-After
s."""

_WORDS: Final = {action.value: action for action in FAULT_ACTIONS}


class Fault(NamedTuple):
    """One parsed fault.

    Attributes:
        action: its effect; `SEND` for an answer with `reason`.
        reason: the provider's name of the reason, for `SEND`.
        argument: milliseconds, seconds, a code, a limit or a GOAWAY reason; None: not given.
        token: the required prefix of a push token; "" matches all.
        after: number of matching requests that are not affected first.
        every: only each Nth matching request.
        next: how many times it happens; None: without limit.
    """

    action: FaultAction
    reason: str = ""
    argument: str | None = None
    token: str = ""
    after: int = 0
    every: int = 1
    next: int | None = None

    @property
    def number(self) -> int | None:
        """The argument as a number; None if none was given."""
        return int(self.argument) if self.argument is not None else None


def parse_fault(text: str, answers: Mapping[str, str]) -> Fault:
    """Parse one fault, without its provider.

    Args:
        text: `WHAT[=ARGUMENT][:WHO]`.
        answers: the words that stand for an answer, each with the reason's full name.

    Raises:
        InvalidField: a word, number or selector is unknown; the message lists the known ones.
    """
    what, _, who = text.partition(":")
    word, equals, argument = what.partition("=")
    selectors = _parse_selectors(text, who)
    if word in answers:
        fault = Fault(FaultAction.SEND, answers[word], _whole(text, argument) if equals else None)
    elif word in _WORDS:
        fault = _parse_act(text, _WORDS[word], argument if equals else None)
        if FAULT_ACTIONS[fault.action].once and not {"next", "every"} & selectors.keys():
            selectors["next"] = "1"
    else:
        known = ", ".join([*_WORDS, *answers])
        raise InvalidField(f"fault {text!r}: {word!r} is unknown; known: {known}", field="fault")
    return fault._replace(
        token=selectors.get("token", ""),
        after=int(selectors.get("after", 0)),
        every=max(1, int(selectors.get("every", 1))),
        next=int(selectors["next"]) if "next" in selectors else None,
    )


def _parse_act(text: str, action: FaultAction, argument: str | None) -> Fault:
    rule = FAULT_ACTIONS[action]
    if argument is None:
        return Fault(action, argument=rule.default or None)
    if not rule.takes:
        raise InvalidField(f"fault {text!r}: {action.value} takes no argument", field="fault")
    return Fault(action, argument=_whole(text, argument) if rule.number else argument)


def _parse_selectors(text: str, who: str) -> dict[str, str]:
    selectors: dict[str, str] = {}
    for part in filter(None, who.split(",")):
        name, equals, value = part.partition("=")
        if not equals:
            name, value = "token", part
        if name not in ("token", "after", "every", "next"):
            raise InvalidField(
                f"fault {text!r}: {name!r} is unknown; known: token, after, every, next", field="fault"
            )
        selectors[name] = value if name == "token" else _whole(text, value)
    return selectors


def _whole(text: str, value: str) -> str:
    if whole(value) is None:
        raise InvalidField(f"fault {text!r}: {value!r} is not a whole number", field="fault")
    return value


def sort_faults(texts: Iterable[str], providers: Mapping[str, Mapping[str, str]]) -> dict[str, list[str]]:
    """Sort faults written `PROVIDER:WHAT[=ARGUMENT][:WHO]` by provider, and check each.

    Args:
        texts: as written on a command line.
        providers: for each provider, the words that stand for an answer.

    Raises:
        InvalidField: a provider or a fault is unknown.
    """
    sorted_faults: dict[str, list[str]] = {provider: [] for provider in providers}
    for text in texts:
        provider, _, fault = text.partition(":")
        if provider not in providers:
            raise InvalidField(f"fault {text!r} must begin with one of {', '.join(providers)}", field="fault")
        parse_fault(fault, providers[provider])
        sorted_faults[provider].append(fault)
    return sorted_faults


class FaultTable:
    """The faults of one simulated provider, in the order in which they are tried. It may change at run time."""

    def __init__(self, answers: Mapping[str, str], faults: Iterable[str] = ()) -> None:
        self._answers = answers
        self._rows: list[_Row] = []
        for text in faults:
            self.add(text)

    def add(self, text: str) -> Fault:
        """Append a fault, in the form that the module describes (without a provider). Raises InvalidField."""
        fault = parse_fault(text, self._answers)
        self._rows.append(_Row(fault))
        return fault

    def clear(self) -> None:
        """Remove all faults."""
        self._rows.clear()

    def next_fault(self, token: str) -> Fault | None:
        """Count one request for `token`, and return the fault that applies to it, if any."""
        for row in self._rows:
            if token.startswith(row.fault.token) and row.strikes():
                return row.fault
        return None


class _Row:
    __slots__ = ("done", "fault", "seen")

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.seen = 0
        self.done = 0

    def strikes(self) -> bool:
        self.seen += 1
        fault = self.fault
        ordinal = self.seen - fault.after
        if ordinal <= 0 or ordinal % fault.every or (fault.next is not None and self.done >= fault.next):
            return False
        self.done += 1
        return True


def describe_faults() -> str:
    """The table of words for `--help`, one in each line."""
    rows = [
        (action.value + (f"[={rule.takes}]" if rule.takes else ""), rule.help)
        for action, rule in FAULT_ACTIONS.items()
    ]
    rows.append(("410[=MS]", "an answer by its status; for 410 the timestamp in epoch milliseconds"))
    rows.append(("429[=S], 503[=S]", "an answer by its status, with Retry-After: S"))
    rows.append(("REASON", "an answer by the provider's own name of the reason"))
    return "\n".join(f"  {word:<17} {text}" for word, text in rows)
