"""Every Lua script, with each of its steps failing: a script that fails has written nothing.

Redis does not roll back. So each case (`script_cases`) runs with each of its keys holding a value of another type, with
each stored number damaged, and with each argument damaged or missing; where it answers with an error, the store must
hold what it held before, to the byte. A script that succeeds all the same was not harmed by the damage.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from weakref import WeakKeyDictionary

import pytest
import redis

import gateway
from gateway.store.connection import Script
from tests.gateway.script_cases import CASES
from tests.gateway.script_stores import Case, Word
from tests.support.redis import RedisServer

BAD_NUMBERS = ("", "x", "-0", "007", "1.5", "nan", "-1", "1" * 25, "9223372036854775807")
BAD_STORED = ("x", "-0", "1" * 25, "9223372036854775807")
WRONG: dict[str, Callable[[redis.Redis, str], object]] = {
    "string": lambda store, name: store.set(name, "of another type"),
    "list": lambda store, name: store.rpush(name, "of another type"),
    "stream": lambda store, name: store.xadd(name, {"of": "another type"}),
}


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


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture
def store(redis_server: RedisServer) -> Iterator[redis.Redis]:
    redis_server.flush()
    with redis_server.client() as client:
        yield client


_laid: WeakKeyDictionary[redis.Redis, tuple[Case, dict[bytes, tuple[bytes, int]]]] = WeakKeyDictionary()
"""By client: the case whose seed was written last, each of its keys as Redis dumped it, and its lifetime (0: none)."""


def _lay(store: redis.Redis, case: Case) -> None:
    """Empty the store and write what the case has before. A test does this up to a thousand times: only the first
    time by the commands of its seed, then by its dumps in one round trip."""
    laid, keys = _laid.get(store, (None, {}))
    if laid is not case:
        store.flushall()
        case.seed(store)
        names = list(store.scan_iter(count=1000))
        _laid[store] = case, {name: (_dump(store, name), max(0, store.pttl(name))) for name in names}
        return
    pipeline = store.pipeline(transaction=False).flushall()
    for name, (dump, lifetime_ms) in keys.items():
        pipeline.restore(name, lifetime_ms, dump)
    pipeline.execute()


def _dump(store: redis.Redis, name: bytes) -> bytes:
    dump = store.dump(name)
    assert dump is not None
    return dump


def _run(store: redis.Redis, case: Case, words: Sequence[Word] | None = None) -> object:
    given = case.words if words is None else words
    return store.eval(case.script.text, len(case.names), *case.names, *given)


def _all(store: redis.Redis) -> dict[bytes, tuple[bytes | None, bool]]:
    """Every key as Redis would dump it, and whether it ends."""
    names = list(store.scan_iter(count=1000))
    pipeline = store.pipeline(transaction=False)  # one round trip for all keys: this runs some 50,000 times
    for name in names:
        pipeline.dump(name).ttl(name)
    replies = iter(pipeline.execute())
    return {name: (next(replies), next(replies) >= 0) for name in names}


def _assert_all_or_nothing(store: redis.Redis, case: Case, words: Sequence[Word] | None = None) -> None:
    """Run it on a store that was damaged, and assert that nothing has changed if it fails."""
    before = _all(store)
    try:
        _run(store, case, words)
    except redis.ResponseError as error:
        assert _all(store) == before, f"something was written before: {error}"


def _touched(store: redis.Redis, case: Case) -> list[str]:
    """The keys that a case has, and those that it writes."""
    _lay(store, case)
    before = _all(store)
    _run(store, case)
    return sorted({name.decode() for name in (*before, *_all(store))} | set(case.names))


def test_a_script_runs_with_the_arguments_of_the_gateway(store: redis.Redis, case: Case) -> None:
    _lay(store, case)
    before = _all(store)
    _run(store, case)
    assert (_all(store) != before) is case.writes


def test_a_key_of_another_type(store: redis.Redis, case: Case) -> None:
    for name in _touched(store, case):
        for kind, lay in WRONG.items():
            _lay(store, case)
            if store.type(name).decode() == kind:
                continue
            store.delete(name)
            lay(store, name)
            _assert_all_or_nothing(store, case)


def test_an_invalid_stored_number(store: redis.Redis, case: Case) -> None:
    for name in _touched(store, case):
        for damage in BAD_STORED:
            _lay(store, case)
            kind = store.type(name)
            if kind == b"hash":
                for field in store.hkeys(name):
                    _lay(store, case)
                    store.hset(name, field, damage)
                    _assert_all_or_nothing(store, case)
            elif kind == b"string":
                store.set(name, damage)
                _assert_all_or_nothing(store, case)
            elif kind == b"zset":
                for score in ("inf", "-inf", "1e300", "0.5"):
                    _lay(store, case)
                    store.zadd(name, dict.fromkeys(store.zrange(name, 0, -1), score))
                    _assert_all_or_nothing(store, case)


def test_an_invalid_member(store: redis.Redis, case: Case) -> None:
    for name in _touched(store, case):
        for member in (
            "5",
            "null",
            "[]",
            '{"token":5,"appname":"app"}',
            '{"token":"t","appname":{}}',
            "\xff",
            "[",
        ):
            _lay(store, case)
            if store.type(name) == b"set":
                store.sadd(name, member)
            elif store.type(name) == b"zset":
                store.zadd(name, {member: 1})
            elif store.type(name) == b"list":
                store.lpush(name, member)
            else:
                continue
            _assert_all_or_nothing(store, case)


def test_an_argument_that_is_not_a_number(store: redis.Redis, case: Case) -> None:
    for place in range(len(case.words)):
        for damage in BAD_NUMBERS:
            words = list(case.words)
            words[place] = damage
            _lay(store, case)
            _assert_all_or_nothing(store, case, words)


def test_an_argument_that_is_missing(store: redis.Redis, case: Case) -> None:
    for count in range(len(case.words)):
        _lay(store, case)
        _assert_all_or_nothing(store, case, case.words[:count])


def test_a_full_store(store: redis.Redis, case: Case) -> None:
    """It refuses a script at its first write, or lets the whole of it through."""
    _lay(store, case)
    store.config_set("maxmemory", "1")
    try:
        _assert_all_or_nothing(store, case)
    finally:
        store.config_set("maxmemory", "0")


def test_a_store_that_cannot_save(store: redis.Redis, case: Case) -> None:
    """`min-replicas-to-write`, which no replica meets, is refused at the same place as a failed save."""
    _lay(store, case)
    store.config_set("min-replicas-to-write", "1")
    try:
        before = _all(store)
        refused = pytest.raises(redis.ResponseError, match="NOREPLICAS") if case.writes else nullcontext()
        with refused:
            _run(store, case)
        assert _all(store) == before
    finally:
        store.config_set("min-replicas-to-write", "0")
