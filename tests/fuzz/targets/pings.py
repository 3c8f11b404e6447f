"""Sources of pings: JSON, forms, Resque's jobs, change events."""

import base64
from typing import Any, Final

import msgspec

import protocols.apns.message as to_apns
import protocols.fcm.message as to_fcm
import protocols.rhoconnect_push.message as to_rhoconnect_push
from protocols.change_events import change_of
from protocols.change_events import parse as parse_change
from protocols.errors import RhoPushError
from protocols.json_bodies import json_text
from protocols.ping.model import Ping
from protocols.ping.ndjson import LineSplitter
from protocols.ping.parse import (
    Submission,
    from_form,
    from_json,
    from_json_and_query,
    from_line,
    json_in_steps,
    line_in_steps,
    run_steps,
)
from protocols.resque import parse as parse_job
from protocols.resque.job import shown
from protocols.resque.records import failure, working
from tests.fuzz.target import Target, plain

_LINE_BYTES: Final = 4_096
NOW_S: Final = 1_764_540_000
PIN: Final = "ab" * 32
_NAMES: Final = (
    *("user_id", "message", "title", "sources", "source_id", "badge", "vibrate", "sound", "async", "wait"),
    *("ttl_s", "priority", "collapse_id", "apns", "fcm", "api_token", "aps", "alert", "data", "android"),
    *("notification", "body", "collapse_key", "headers", "payload", "webpush", "colour"),
)
WORDS: Final = tuple(name.encode() for name in _NAMES)
FULL: Final = {
    "user_id": ["bob", "ann"],
    "message": "hello",
    "title": "Title",
    "sources": ["Product", "Customer"],
    "badge": 5,
    "vibrate": "2000",
    "sound": "welcome.mp3",
    "async": True,
    "wait": False,
    "ttl_s": 60,
    "priority": "high",
    "collapse_id": "one",
    "apns": {"aps": {"category": "C", "mutable-content": 1}, "own": [1, {"a": None}]},
    "fcm": {"data": {"k": "v"}, "android": {"notification": {"channelId": "c"}, "priority": "HIGH"}},
}
JSON_SEEDS: Final = (
    msgspec.json.encode(FULL),
    b'{"user_id":["a","b"],"message":"hi","badge":5}',
    b'{"user_id":"a","message":{"title":"t","body":"b"},"sources":"all"}',
    b'{"user_id":[["a",["b"]],"c"],"message":[1,2,{"a":[]}],"source_id":"A,B"}',
    b'{"user_id":"a","badge":"1_000","vibrate":"5x","ttl_s":"60"}',
    b'{"user_id":null,"apns":"{\\"aps\\":{}}","fcm":"{}","message":1e5}',
    b'{"user_id":"\\ud83d\\ude00","message":"\\u0000"}',
    b"[]",
    b"",
)
_LATE_FAULT: Final = b'{"user_id":[' + b"[1]," * 16_000
"""JSON whose fault is at its end, after many steps of the search for it."""
FORM_SEEDS: Final = (
    b"user_id=a&message=hi&badge=5",
    b"user_id[]=a&user_id[]=b&sources[]=P&message=a+b%20c&vibrate=2000",
    b"attributes[user_id][]=a&attributes[message]=x&fcm=%7B%22data%22%3A%7B%7D%7D&apns[aps][badge]=1",
    b"user_id=a;message=b&&=&a[b][][c]=1&a[b][][c]=2&a[b][][d]=3",
)


def _outcome(read: Any, *arguments: Any) -> Submission | tuple[str, str | None]:
    try:
        found: Submission = read(*arguments)
    except RhoPushError as error:
        return error.code, error.field
    return found


def _stepped(body: bytes) -> Submission:
    steps = json_in_steps(body)
    try:
        while True:
            next(steps)
    except StopIteration as ended:
        found: Submission = ended.value
        return found


def _json(body: bytes) -> None:
    at_once, in_steps = _outcome(from_json, body), _outcome(_stepped, body)
    assert at_once == in_steps, "read in steps, a body means something else"
    assert repr(at_once)
    from_json(body)


def _json_and_query(data: bytes) -> None:
    body, _, query = data.partition(b"?")
    from_json_and_query(body, query.decode("utf-8", "surrogateescape"))


def _typed(data: bytes) -> None:
    kind, _, body = data.partition(b"\n")
    text = json_text(body, kind.decode("latin-1"))
    if text is not None:
        from_json(text)


def _ndjson(data: bytes) -> None:
    """The first byte says where the pieces of the rest end. Each line means the same however it is read."""
    size, body = (data[0] % 61 + 1 if data else 1), data[1:]
    at_once, in_pieces = LineSplitter(_LINE_BYTES), LineSplitter(_LINE_BYTES)
    lines = at_once.feed(body) + at_once.finish()
    found = [line for at in range(0, len(body), size) for line in in_pieces.feed(body[at : at + size])]
    assert found + in_pieces.finish() == lines, "in pieces, a stream has other lines"
    assert len(lines) == at_once.lines == in_pieces.lines
    for line in lines:
        if line is not None:
            assert len(line) <= _LINE_BYTES
            assert _outcome(from_line, line) == _outcome(lambda line: run_steps(line_in_steps(line)), line)


def _form(data: bytes) -> None:
    body, _, query = data.partition(b"?")
    from_form(body, query.decode("utf-8", "surrogateescape"))


def compose(ping: Ping) -> None:
    """Compose the message for each provider. Errors of the tree are verdicts here, and are ignored."""
    targets = (
        (to_apns.compose, to_apns.ApnsTarget("com.example.app")),
        (to_fcm.compose, to_fcm.FcmTarget("project", "com.example.app", "notification")),
        (to_fcm.compose, to_fcm.FcmTarget("project", "com.example.app", "data")),
        (to_rhoconnect_push.compose, to_rhoconnect_push.RhoConnectPushTarget()),
    )
    made: Any
    for make, target in targets:
        try:
            made = make(ping, target, NOW_S * 1000)  # type-checked where the gateway calls it
            if made is not None:
                made.path(PIN)
                msgspec.json.decode(made.body(PIN))
        except RhoPushError:
            continue


def _through(body: bytes) -> None:
    """The whole way of a ping: read, queued, taken from the queue, composed."""
    ping = from_json(body).ping
    queued = msgspec.msgpack.decode(msgspec.msgpack.encode(ping), type=Ping)
    assert queued == ping
    compose(queued)


def _job(item: bytes) -> None:
    payload = shown(item)
    failure(payload, "Error", "why", "host:1:ping", "ping", NOW_S)
    working("ping", payload, NOW_S)
    parse_job(item)


def _keyspace(data: bytes) -> None:
    channel, _, event = data.rpartition(b" ")
    change_of(channel, event)


_CHANNEL: Final = b"__keyspace@0__:source:application:bob:Product:md:a1"
TARGETS: Final = (
    Target("ping-json", plain(_json), (*JSON_SEEDS, _LATE_FAULT), WORDS, tree="json", largest=262_144),
    Target("ping-json-query", plain(_json_and_query), (*JSON_SEEDS, b'{"message":"x"}?user_id=a'), WORDS),
    Target(
        "ping-lines",
        plain(_ndjson),
        (
            b"\x07" + b"\n".join(JSON_SEEDS),
            b'\x01{"user_id":"a","idempotency_key":"k"}\r\n\n{"user_id":"b","wait":true}\n{"api_token":"t"}',
            b"\x20" + b"x" * 5000 + b"\n" + b'{"user_id":"a"}',
        ),
        (*WORDS, b"\n", b"\r\n", b"idempotency_key"),
        byte_s=2e-5,  # each byte may be a piece of its own, and every other one a line, which is read twice
    ),
    Target(
        "ping-form", plain(_form), (*FORM_SEEDS, b"?user_id=a&message=x"), (*WORDS, b"[]", b"[a]", b"&", b"=")
    ),
    Target(
        "json-bodies",
        plain(_typed),
        (
            b"text/plain\n{}",
            b'application/json; charset=utf-16\n{"user_id":"a"}',
            b"\n{",
            b"a/b;charset=gb18030\n{}",
        ),
        (*WORDS, b"charset=", b"utf-16", b"iso-8859-1", b"\0", b"+json", b"big5", b"idna"),
    ),
    Target("ping-to-providers", plain(_through), JSON_SEEDS, WORDS, tree="json"),
    Target(
        "resque-jobs",
        plain(_job),
        (
            msgspec.json.encode({"class": "Rhoconnect::PingJob", "args": [FULL]}),
            b'{"class":"PingJob","args":[{"user_id":"a","api_token":"t"}]}',
            b'{"class":"Other","args":[1]}',
        ),
        (*WORDS, b"class", b"args"),
        tree="json",
    ),
    Target(
        "change-events",
        plain(parse_change),
        (
            b'{"source":"Product","user_id":"bob","id":7}',
            b'{"source":"P","user_id":["a","b"],"id":"x","more":[]}',
        ),
        (b"source", b"user_id", b"id"),
        tree="json",
    ),
    Target(
        "keyspace-events",
        plain(_keyspace),
        (
            _CHANNEL + b" sadd",
            _CHANNEL.replace(b":a1", b"_size") + b" set",
            _CHANNEL + b":x:y:md:indices hset",
        ),
        (b":", b"md", b"source:application:", b"__keyspace@", b"__shared__"),
    ),
)
BASIC: Final = b"Basic " + base64.b64encode(b"usermike:pwd")
"""For targets that need credentials."""
