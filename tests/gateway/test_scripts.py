"""Every Lua script, with each of its steps failing: a script that fails has written nothing.

Redis does not roll back. So each case (`script_cases`) runs with each of its keys holding a value of another type, with
each stored number damaged, and with each argument damaged or missing; where it answers with an error, the store must
hold what it held before, to the byte. A script that succeeds all the same was not harmed by the damage.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import product
from typing import NamedTuple

import pytest
import redis
from redis.client import Pipeline

import gateway
from gateway.store.connection import Script
from tests.gateway.script_cases import CASES
from tests.gateway.script_stores import Case, Word
from tests.support.redis import RedisServer

BAD_NUMBERS = ("", "x", "-0", "007", "1.5", "nan", "-1", "1" * 25, "9223372036854775807")
BAD_STORED = ("x", "-0", "1" * 25, "9223372036854775807")
BAD_SCORES = ("inf", "-inf", "1e300", "0.5")
BAD_MEMBERS = ("5", "null", "[]", '{"token":5,"appname":"app"}', '{"token":"t","appname":{}}', "\xff", "[")
Content = dict[bytes, tuple[bytes, int]]
"""Each key as Redis would dump it, and whether it ends."""
Damage = Callable[[Pipeline], object]
"""Sends the commands that damage a store."""
WRONG: dict[str, Callable[[Pipeline, str], object]] = {
    "string": lambda store, name: store.set(name, "of another type"),
    "list": lambda store, name: store.rpush(name, "of another type"),
    "stream": lambda store, name: store.xadd(name, {"of": "another type"}),
}
CONTENT = """
local found = {}
for _, name in ipairs(redis.call('KEYS', '*')) do
    found[#found + 1] = {name, redis.call('DUMP', name), redis.call('PTTL', name) >= 0 and 1 or 0}
end
return found
"""
"""Script that returns every key as Redis would dump it, and whether it ends."""


def _scripts() -> Iterator[tuple[str, Script]]:
    for module in pkgutil.walk_packages(gateway.__path__, "gateway."):
        if module.name.endswith("__main__"):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, Script):
                yield f"{module.name}.{name}", value


def test_every_script_has_a_case() -> None:
    found = dict(_scripts())
    tested = {case.script.sha for case in CASES.values()}
    assert [name for name, script in found.items() if script.sha not in tested] == []
    assert len(tested) > 25


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture(scope="module")
def store(redis_server: RedisServer) -> Iterator[redis.Redis]:
    redis_server.flush()
    with redis_server.client() as client:
        yield client


class Trial(NamedTuple):
    """The content before a run of the script, its outcome, and the content after it."""

    before: Content
    outcome: object
    after: Content


class Trials:
    """Runs a case again and again, up to a thousand times, each time on a store that has what the case has before.

    Only the first time by the commands of its seed, then by its dumps; one trial is one round trip.

    Attributes:
        kinds: the types of the keys that the case has.
        members: the fields of its hashes and the members of its sorted sets.
        names: the keys that the case has, those that it writes, and those that it is called with.
    """

    def __init__(self, store: redis.Redis, case: Case) -> None:
        self._case = case
        case.seed(store)
        seeded = list(store.scan_iter(count=1000))
        self._seed = [("RESTORE", name, max(0, store.pttl(name)), store.dump(name)) for name in seeded]
        self.kinds = {name.decode(): store.type(name).decode() for name in seeded}
        self.members = {
            name: store.hkeys(name) if kind == "hash" else store.zrange(name, 0, -1)
            for name, kind in self.kinds.items()
            if kind in ("hash", "zset")
        }
        self._pipeline = store.pipeline(transaction=False)
        self._content_sha = store.script_load(CONTENT)
        store.script_load(case.script.text)
        first = self.run()
        assert not isinstance(first.outcome, Exception), first.outcome
        self.names = sorted({name.decode() for name in (*first.before, *first.after)} | set(case.names))

    def run(self, words: Sequence[Word] | None = None, damage: Damage | None = None) -> Trial:
        """Run the script with these words, or its own, on the store that was damaged."""
        pipeline, case = self._pipeline, self._case
        pipeline.flushall()
        for command in self._seed:
            pipeline.execute_command(*command)
        if damage is not None:
            damage(pipeline)
        given = case.words if words is None else words
        pipeline.evalsha(self._content_sha, 0)
        pipeline.evalsha(case.script.sha, len(case.names), *case.names, *given)
        pipeline.evalsha(self._content_sha, 0)
        *prepared, before, outcome, after = pipeline.execute(raise_on_error=False)
        assert [reply for reply in (*prepared, before, after) if isinstance(reply, Exception)] == []
        return Trial(_content(before), outcome, _content(after))

    def check(self, words: Sequence[Word] | None = None, damage: Damage | None = None) -> None:
        """Run the script; if it fails, nothing may have changed."""
        found = self.run(words, damage)
        if isinstance(found.outcome, Exception):
            assert isinstance(found.outcome, redis.ResponseError), found.outcome
            assert found.after == found.before, f"something was written before: {found.outcome}"


def _content(reply: Sequence[tuple[bytes, bytes, int]]) -> Content:
    return {name: (dump, ends) for name, dump, ends in reply}


@pytest.fixture(scope="module")
def trials(store: redis.Redis, case: Case) -> Trials:
    """Shared by the tests of a case: each run begins with an empty store."""
    store.flushall()
    return Trials(store, case)


def test_a_script_runs_with_the_arguments_of_the_gateway(trials: Trials, case: Case) -> None:
    trial = trials.run()
    assert not isinstance(trial.outcome, Exception)
    assert (trial.after != trial.before) is (case.writes and case.changes)


def test_a_key_of_another_type_causes_no_partial_write(trials: Trials) -> None:
    def replace(kind: str, name: str, store: Pipeline) -> None:
        store.delete(name)
        WRONG[kind](store, name)

    for name in trials.names:
        for kind in WRONG:
            if trials.kinds.get(name) != kind:
                trials.check(damage=partial(replace, kind, name))


def _set_field(name: str, field: bytes, damage: str, store: Pipeline) -> None:
    store.hset(name, field, damage)


def _set_text(name: str, damage: str, store: Pipeline) -> None:
    store.set(name, damage)


def _set_scores(name: str, members: Sequence[bytes], score: str, store: Pipeline) -> None:
    store.zadd(name, dict.fromkeys(members, score))


def _bad_numbers(trials: Trials, name: str) -> Iterator[Damage]:
    members = trials.members.get(name, [])
    match trials.kinds[name]:
        case "hash":
            yield from (partial(_set_field, name, *each) for each in product(members, BAD_STORED))
        case "string":
            yield from (partial(_set_text, name, damage) for damage in BAD_STORED)
        case "zset":
            yield from (partial(_set_scores, name, members, score) for score in BAD_SCORES)


def test_an_invalid_stored_number_causes_no_partial_write(trials: Trials) -> None:
    for name in trials.kinds:
        for damage in _bad_numbers(trials, name):
            trials.check(damage=damage)


def test_an_invalid_member_causes_no_partial_write(trials: Trials) -> None:
    adding: dict[str, Callable[[Pipeline, str, str], object]] = {
        "set": lambda store, name, member: store.sadd(name, member),
        "zset": lambda store, name, member: store.zadd(name, {member: 1}),
        "list": lambda store, name, member: store.lpush(name, member),
    }

    def add(name: str, member: str, store: Pipeline) -> None:
        adding[trials.kinds[name]](store, name, member)

    for name, member in product(trials.kinds, BAD_MEMBERS):
        if trials.kinds[name] in adding:
            trials.check(damage=partial(add, name, member))


def test_an_argument_that_is_no_number_causes_no_partial_write(trials: Trials, case: Case) -> None:
    for place in range(len(case.words)):
        for damage in BAD_NUMBERS:
            words = list(case.words)
            words[place] = damage
            trials.check(words)


def test_a_missing_argument_causes_no_partial_write(trials: Trials, case: Case) -> None:
    for count in range(len(case.words)):
        trials.check(case.words[:count])


def test_a_full_store_causes_no_partial_write(store: redis.Redis, trials: Trials) -> None:
    """It refuses a script at its first write, or lets the whole of it through."""
    try:
        trials.check(damage=lambda store: store.config_set("maxmemory", "1"))
    finally:
        store.config_set("maxmemory", "0")


def test_a_store_that_cannot_save_refuses_every_writing_script(
    store: redis.Redis, trials: Trials, case: Case
) -> None:
    """`min-replicas-to-write`, which no replica meets, is refused at the same place as a failed save."""
    try:
        found = trials.run(damage=lambda store: store.config_set("min-replicas-to-write", "1"))
    finally:
        store.config_set("min-replicas-to-write", "0")
    assert ("NOREPLICAS" in str(found.outcome)) is case.writes
    assert found.after == found.before
