"""Parsing of pings in all received forms: JSON, a form, a query, or a map of parameters (contract §1.2, §10).

A line of a request with many pings (`from_line`) may also have an idempotency key, and has neither a token nor `wait`.

All forms share one parser: the parameters are put into `_Raw` and parsed by the rules of `protocols.ping.fields`.
JSON is decoded into it directly, in C; only a body with an unknown field is decoded a second time, to name the field.
The parameters of providers of other packages (`rules`) are such fields.
"""

from collections.abc import Generator, Mapping
from typing import Any, Final, NamedTuple, NoReturn, TypeVar, cast

import msgspec

from protocols.errors import InvalidField, MalformedBody, wrong_type
from protocols.json_syntax import find_fault
from protocols.ping import address, fields, form, overrides
from protocols.ping.large import LARGE_BYTES, LargeBodyReader
from protocols.ping.limits import NAMES_MAX, is_deeper
from protocols.ping.model import Ping
from protocols.ping.overrides import NO_RULES, AdditionRules

Found = TypeVar("Found")


class ExplainOptions(msgspec.Struct, frozen=True):
    """A caller's request to explain a ping instead of sending it.

    Attributes:
        validate: whether providers that can check a message without a delivery are asked to.
    """

    validate: bool = False


class Submission(msgspec.Struct, frozen=True, gc=False):
    """A parsed ping request.

    Attributes:
        ping: the ping, with `id` "" and `accepted_ms` 0, which the queue sets.
        wait: whether the caller waits for every device's verdict.
        asynchronous: RhoConnect's `async`. It has no effect, since every ping is queued before the response.
        api_token: the token in the body or the query, if there is one.
        unknown: the first of the parameters that were not understood, in the order of the body; named in
            X-Ping-Warning.
        unnamed: number of further parameters that were not understood.
        unread: the Content-Type of a body that was not parsed; "" if it was parsed or is empty.
        explain: the ping must be explained and not sent; None: it is to be sent.
        deliver_at_ms: the time from which the ping may be delivered, epoch milliseconds, possibly in the past; None:
            immediately.
    """

    ping: Ping
    wait: bool = False
    asynchronous: bool = False
    api_token: str | None = None
    unknown: tuple[str, ...] = ()
    unnamed: int = 0
    unread: str = ""
    explain: ExplainOptions | None = None
    deliver_at_ms: int | None = None

    def __repr__(self) -> str:
        """A text with everything but the token."""
        token = "***" if self.api_token else None
        return (
            f"Submission(ping={self.ping!r}, wait={self.wait}, asynchronous={self.asynchronous}, "
            f"api_token={token}, unknown={self.unknown}, unnamed={self.unnamed}, unread={self.unread!r}, "
            f"explain={self.explain!r}, "
            f"deliver_at_ms={self.deliver_at_ms})"
        )


class _Raw(msgspec.Struct, gc=False, forbid_unknown_fields=True, rename={"asynchronous": "async"}):
    """The parameters as received, not yet parsed. Its field names are the list of known parameters."""

    user_id: Any = None
    sources: Any = None
    source_id: Any = None
    message: Any = None
    badge: Any = None
    sound: Any = None
    vibrate: Any = None
    asynchronous: Any = None
    api_token: Any = None
    wait: Any = None
    title: Any = None
    ttl_s: Any = None
    priority: Any = None
    collapse_id: Any = None
    apns: Any = None
    fcm: Any = None
    to: Any = None
    deliver_at: Any = None


class _RawLine(_Raw, forbid_unknown_fields=True, rename={"asynchronous": "async"}):
    """The parameters of one line among many."""

    idempotency_key: Any = None


_decode_raw: Final = msgspec.json.Decoder(_Raw).decode
_decode_line: Final = msgspec.json.Decoder(_RawLine).decode
_decode_any: Final = msgspec.json.Decoder(Any).decode
_KEY: Final = "idempotency_key"
_EXPLAIN: Final = "explain"
_VALIDATE: Final = "validate"
_OF_EXPLAIN: Final = (_EXPLAIN, _VALIDATE)
"""Parameters that are not in `_Raw`: the direct decoding of the bodies of pings has nothing to do for them."""
_NOT_IN_A_LINE: Final = ("wait", "api_token", *_OF_EXPLAIN)
_KNOWN: Final[dict[str, str]] = {
    outside: inside
    for inside, outside in zip(_Raw.__struct_fields__, _Raw.__struct_encode_fields__, strict=True)
}
_BODY: Final = "the body"
_LINE: Final = "this line"
_large: Final = LargeBodyReader(_KNOWN, _BODY)
_large_line: Final = LargeBodyReader((*_KNOWN, _KEY), _LINE)
_EXPLAINED_BYTES: Final = 262_144  # no location is determined for a fault in a longer body
_UNEXPLAINED: Final = "is malformed: it is not a complete JSON object, or it is nested too deeply"
"""One text for both: the version of Python determines which of them a decoder finds first."""
_Unknown = tuple[tuple[str, ...], int]  # names of parameters, and the number of further ones
_ALL_KNOWN: Final[_Unknown] = ((), 0)
_WARNED_MAX: Final = 32
"""Largest number of names in a warning header; enough to find the mistake."""
PARAMETERS: Final = frozenset({*_KNOWN, _KEY, *_OF_EXPLAIN})
"""The parameters of a ping and of a line, except those of providers of other packages."""


class _Parameters(NamedTuple):
    """The parameters of a ping, separated.

    Attributes:
        raw: those that every gateway knows.
        unknown: those that this gateway does not know.
        additions: the parsed parameters of providers of other packages.
    """

    raw: _Raw
    unknown: _Unknown
    additions: dict[str, dict[str, Any]]


def from_json(body: bytes, rules: AdditionRules = NO_RULES) -> Submission:
    """Parse a JSON body.

    Args:
        body: the body.
        rules: the rules of the parameters of providers of other packages.

    Raises:
        MalformedBody: it is not JSON, or not a JSON object; the message names the byte, line and column.
        InvalidField: a parameter has a wrong type or value; `field` is its path.
    """
    if len(body) > LARGE_BYTES:
        return run_steps(json_in_steps(body, rules=rules))
    try:
        raw = _decode_raw(body)
    except (ValueError, RecursionError):
        # It has unknown fields, is empty, or is invalid.
        return from_params(_json_object(body), rules)
    return _submission(raw, _ALL_KNOWN)


def json_in_steps(
    body: bytes, query: str = "", rules: AdditionRules = NO_RULES
) -> Generator[None, None, Submission]:
    """`from_json_and_query` for a large body, in steps of some milliseconds, so that other work can run between
    them.

    Raises the same errors as `from_json` and `from_form`.
    """
    parameters = form.parameters(query, "query") if query else {}
    try:
        parameters |= yield from _large.parameters(body)
    except (ValueError, RecursionError) as error:
        if len(body) > _EXPLAINED_BYTES:
            raise MalformedBody(f"{_BODY} {_UNEXPLAINED}") from error
        parameters |= _json_object(body)
    return (yield from params_in_steps(parameters, rules))


def run_steps(steps: Generator[None, None, Found]) -> Found:
    """Run the steps to their end without a pause, and return their result."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return cast("Found", end.value)


def from_line(line: bytes, rules: AdditionRules = NO_RULES) -> tuple[Submission, Any]:
    """Parse one line of a request with many pings: the ping and its `idempotency_key`, not yet checked.

    Raises:
        MalformedBody: the line is not a JSON object.
        InvalidField: as in `from_json`; or the line has `wait`, `api_token`, `explain` or `validate`.
    """
    if len(line) > LARGE_BYTES:
        return run_steps(line_in_steps(line, rules))
    try:
        raw = _decode_line(line)
    except (ValueError, RecursionError):
        return _from_line_parameters(_json_object(line, _LINE), rules)
    if raw.wait is not None or raw.api_token is not None:
        raise _not_in_a_line("wait" if raw.wait is not None else "api_token")
    return _submission(raw, _ALL_KNOWN), raw.idempotency_key


def line_in_steps(
    line: bytes, rules: AdditionRules = NO_RULES
) -> Generator[None, None, tuple[Submission, Any]]:
    """Parse a long line as `from_line` does, in steps of some milliseconds. Raises as `from_line`."""
    try:
        parameters = yield from _large_line.parameters(line)
    except (ValueError, RecursionError) as error:
        if len(line) > _EXPLAINED_BYTES:
            raise MalformedBody(f"{_LINE} {_UNEXPLAINED}") from error
        parameters = _json_object(line, _LINE)
    key = _key_of_line(parameters)
    return (yield from params_in_steps(parameters, rules)), key


def _from_line_parameters(parameters: dict[str, Any], rules: AdditionRules) -> tuple[Submission, Any]:
    key = _key_of_line(parameters)
    return from_params(parameters, rules), key


def _key_of_line(parameters: dict[str, Any]) -> Any:
    """Remove the idempotency key from a line's parameters, and return it."""
    for name in _NOT_IN_A_LINE:
        if parameters.get(name) is not None:
            raise _not_in_a_line(name)
    return parameters.pop(_KEY, None)


def _not_in_a_line(name: str) -> InvalidField:
    return InvalidField(f"a line must not have {name}", field=name)


def from_json_and_query(body: bytes, query: str, rules: AdditionRules = NO_RULES) -> Submission:
    """Parse a JSON body and a query string. A parameter of the body takes precedence (contract §1.2).

    Raises the same errors as `from_json` and `from_form`.
    """
    if not query:
        return from_json(body, rules)
    return from_params({**form.parameters(query, "query"), **_json_object(body)}, rules)


def from_form(body: bytes, query: str, rules: AdditionRules = NO_RULES) -> Submission:
    """Parse an application/x-www-form-urlencoded body, with Rack's brackets, and a query. The body takes precedence.

    Raises:
        MalformedBody: bytes that are not UTF-8, brackets that are too deep or contradictory.
        InvalidField: as in `from_json`.
    """
    parameters = form.parameters(query, "query") if query else {}
    if body:
        parameters.update(form.parameters(body, "body"))
    return from_params(parameters, rules)


def from_params(parameters: Mapping[str, Any], rules: AdditionRules = NO_RULES) -> Submission:
    """Parse decoded parameters: of a multipart form, a Resque job or a Python caller.

    Raises:
        InvalidField: as in `from_json`.
    """
    raw, unknown, additions = _separated(parameters, rules)
    return _with_additions(_submission(raw, unknown, explain=explain_options(parameters)), additions)


def explain_options(parameters: Mapping[str, Any]) -> ExplainOptions | None:
    """Read `explain` and `validate`; None: the ping is to be sent.

    An empty `explain` is refused and not read as false, since its sender does not expect a delivery.

    Raises:
        InvalidField: a value is no flag, `explain` is empty, or `validate` is true without `explain`.
    """
    value, validate = parameters.get(_EXPLAIN, False), parameters.get(_VALIDATE)
    if value is None or value == "":
        raise InvalidField(f"{_EXPLAIN} must be true or false", field=_EXPLAIN)
    validates = validate is not None and fields.flag(validate, _VALIDATE)
    if fields.flag(value, _EXPLAIN):
        return ExplainOptions(validates)
    if validates:
        raise InvalidField(f"{_VALIDATE} is possible only with {_EXPLAIN}", field=_VALIDATE)
    return None


def _separated(parameters: Mapping[str, Any], rules: AdditionRules) -> _Parameters:
    """Separate known parameters from unknown ones; of those only the first names are returned."""
    if len(parameters) > NAMES_MAX:
        raise MalformedBody(f"a ping may have at most {NAMES_MAX} parameters")
    raw = _Raw()
    unknown: list[str] = []
    additions: dict[str, dict[str, Any]] = {}
    for name, value in parameters.items():
        inside = _KNOWN.get(name)
        if inside is not None:
            setattr(raw, inside, value)
        elif name in rules:
            added = None if value is None else rules[name](value, name)
            if added is not None:
                additions[name] = added
        elif name not in _OF_EXPLAIN:
            unknown.append(name)
    if is_deeper([parameters[name] for name in unknown]):
        raise MalformedBody("the body is nested too deeply")
    names = tuple(unknown[:_WARNED_MAX]), max(0, len(unknown) - _WARNED_MAX)
    return _Parameters(raw, names, additions)


def _with_additions(submission: Submission, additions: dict[str, dict[str, Any]]) -> Submission:
    """The submission with the additions of providers of other packages, which few pings have."""
    if not additions:
        return submission
    ping = msgspec.structs.replace(submission.ping, additions=additions)
    return msgspec.structs.replace(submission, ping=ping)


def params_in_steps(
    parameters: Mapping[str, Any], rules: AdditionRules = NO_RULES
) -> Generator[None, None, Submission]:
    """`from_params` for a long list of users, about a millisecond in each step.

    Raises the same errors as `from_params`.
    """
    raw, unknown, additions = _separated(parameters, rules)
    users = (yield from fields.users_in_steps(raw.user_id)) if type(raw.user_id) is list else None
    return _with_additions(_submission(raw, unknown, users, explain_options(parameters)), additions)


def _submission(
    raw: _Raw,
    others: _Unknown,
    known: tuple[tuple[str, ...], bool] | None = None,
    explain: ExplainOptions | None = None,
) -> Submission:
    """Parse every parameter by its rule, except the users if they are known."""
    users, understood = known or fields.users(raw.user_id)
    unknown, unnamed = others
    if not understood:
        unknown = (*unknown, "user_id")
    sources, source_id = raw.sources, raw.source_id
    if sources is not None:
        names = fields.sources(sources, "sources")
    else:
        names = () if source_id is None else fields.sources(source_id, "source_id")
    token, wait, asynchronous = raw.api_token, raw.wait, raw.asynchronous
    ping = _ping(raw, users, names)
    if raw.to is not None or (raw.badge is not None and raw.badge == fields.ONE_MORE):
        ping = _addressed(raw, ping)
    return Submission(  # by position, as `_ping`
        ping,
        wait is not None and fields.flag(wait, "wait"),
        asynchronous is not None and fields.flag(asynchronous, "async"),
        token if type(token) is str else None,
        unknown,
        unnamed,
        "",
        explain,
        None if raw.deliver_at is None else _deliver_at_ms(raw),
    )


def _deliver_at_ms(raw: _Raw) -> int:
    """Parse the time of delivery. It is refused together with `wait`, since no caller waits until then."""
    if raw.wait is not None and fields.flag(raw.wait, "wait"):
        raise InvalidField("deliver_at cannot be combined with wait", field="deliver_at")
    return fields.instant_ms(raw.deliver_at, "deliver_at")


def _ping(raw: _Raw, users: tuple[str, ...], sources: tuple[str, ...]) -> Ping:
    # By position, in the order of Ping's fields: this runs for every ping, and keyword arguments cost a third more.
    return Ping(
        "",
        0,
        users,
        sources,
        None if raw.message is None else fields.message(raw.message, "message"),
        None if raw.title is None else fields.text(raw.title, "title"),
        None if raw.badge is None else fields.number(raw.badge, "badge"),
        None if raw.sound is None else fields.text(raw.sound, "sound"),
        None if raw.vibrate is None else fields.milliseconds(raw.vibrate, "vibrate"),
        None if raw.ttl_s is None else fields.seconds(raw.ttl_s, "ttl_s"),
        None if raw.priority is None else fields.priority(raw.priority, "priority"),
        None if raw.collapse_id is None else fields.collapse_id(raw.collapse_id, "collapse_id"),
        None if raw.apns is None else overrides.apns(raw.apns, "apns"),
        None if raw.fcm is None else overrides.fcm(raw.fcm, "fcm"),
    )


def _addressed(raw: _Raw, ping: Ping) -> Ping:
    """The ping with its `to` and with the badge "+1", which few pings have."""
    to = None if raw.to is None else address.addressees(raw.to, "to")
    if to is not None and to.all_users and ping.users:
        raise InvalidField("to.all_users cannot be combined with user_id", field="to.all_users")
    increment = int(raw.badge == fields.ONE_MORE)
    return msgspec.structs.replace(ping, to=to, badge_increment=increment)


def _json_object(body: bytes, name: str = _BODY) -> dict[str, Any]:
    """Decode a JSON object; an empty body is one without parameters (contract §1.2)."""
    if not body.strip():
        return {}
    try:
        value: Any = _decode_any(body)
    except RecursionError as error:
        raise MalformedBody(f"{name} is nested too deeply") from error
    except ValueError as error:
        _explain(body, name, error)
    if not isinstance(value, dict):
        found = wrong_type(name, "a JSON object", value).message
        raise MalformedBody(f"{found} (byte 0, line 1, column 1)")
    return value


def _explain(body: bytes, name: str, error: ValueError) -> NoReturn:
    """Raise an error with the fault and its location, in the gateway's own words."""
    fault = find_fault(body)
    if fault.out_of_range:
        raise InvalidField(f"in {name} {fault.text}") from error
    raise MalformedBody(f"{name} is malformed: {fault.text}") from error
