"""A dump of Redis as text, which any version of Redis or Valkey loads, at any time.

The first line says when the dump was made. Each further line is a note of its maker or a key. A byte stands for the
character of the same number (Latin-1), so that names and texts can be read.

Every instant in epoch milliseconds is written relative to the instant of the dump, wherever it stands: in names of
keys, stream ids, scores, texts and packed values. Loading adds the present instant, less the time for which no
gateway ran. Times to live and idle times of leases follow in the same way.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from redis.asyncio import Redis

Part: TypeAlias = "str | dict[str, int]"
"""Text; `{"ms": n}`, an instant as decimal digits; or `{"packed_ms": n}`, an instant as MessagePack packs it."""
Text: TypeAlias = "str | list[Part]"

_NEAR_MS: Final = 30 * 86_400_000
"""A number that is at most so far from the instant of the dump is an instant."""
_INSTANT: Final = re.compile(rb"(?<![0-9A-Za-z])\d{13}(?![0-9A-Za-z])|\xcf\x00\x00[\x00-\xff]{6}", re.DOTALL)


class Dump(NamedTuple):
    """A dump as it is read.

    Attributes:
        notes: of its maker, in order.
        keys: one object for each key.
    """

    notes: list[dict[str, Any]]
    keys: list[dict[str, Any]]

    def named(self, name: str) -> list[dict[str, Any]]:
        """The notes that have this name."""
        return [note for note in self.notes if name in note]

    def with_text(self, old: str, new: str) -> "Dump":
        """Return a copy with one text replaced by another."""
        return self._replace(keys=json.loads(json.dumps(self.keys).replace(old, new)))

    @property
    def names(self) -> list[str]:
        """The names of the keys, with 0 in the place of each instant."""
        return [_Clock(0).raw(one["key"]).decode("latin-1") for one in self.keys]


async def write(redis: Redis, file: Path, notes: Iterable[dict[str, Any]]) -> None:
    """Dump everything that Redis holds."""
    made_ms = await _now_ms(redis)
    clock = _Clock(made_ms)
    lines: list[dict[str, Any]] = [{"made_ms": made_ms}, *({"note": note} for note in notes)]
    for key in sorted([key async for key in redis.scan_iter()]):
        kind = (await redis.type(key)).decode()
        line = {"key": clock.text(key), "type": kind, "ttl_ms": await redis.pttl(key)}
        lines.append(line | {"value": await _READ[kind](redis, key, clock)})
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))


def read(file: Path) -> Dump:
    """Read a dump."""
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return Dump([one["note"] for one in lines if "note" in one], [one for one in lines if "key" in one])


async def load(redis: Redis, dump: Dump, away_ms: int) -> None:
    """Load a dump into an empty Redis.

    Args:
        away_ms: for how long no gateway ran since the dump was made.
    """
    clock = _Clock(await _now_ms(redis) - away_ms)
    for one in dump.keys:
        left_ms = one["ttl_ms"] - away_ms
        if one["ttl_ms"] >= 0 and left_ms <= 0:
            continue
        key = clock.raw(one["key"])
        await _WRITE[one["type"]](redis, key, one["value"], clock, away_ms)
        if one["ttl_ms"] >= 0:
            await redis.pexpire(key, left_ms)


async def _now_ms(redis: Redis) -> int:
    seconds, micros = await redis.time()
    return int(seconds) * 1000 + int(micros) // 1000


class _Clock:
    """Turns instants into differences from one instant, and back."""

    def __init__(self, origin_ms: int) -> None:
        self._origin_ms = origin_ms

    def text(self, value: bytes) -> Text:
        parts: list[Part] = []
        done = 0
        for found in _INSTANT.finditer(value):
            digits = found[0].isdigit()
            at_ms = int(found[0]) if digits else int.from_bytes(found[0][1:], "big")
            if abs(at_ms - self._origin_ms) <= _NEAR_MS:
                parts += [value[done : found.start()].decode("latin-1")]
                parts += [{"ms" if digits else "packed_ms": at_ms - self._origin_ms}]
                done = found.end()
        rest = value[done:].decode("latin-1")
        return [*parts, rest] if parts else rest

    def raw(self, text: Text) -> bytes:
        if isinstance(text, str):
            return text.encode("latin-1")
        return b"".join(map(self._raw_part, text))

    def _raw_part(self, part: Part) -> bytes:
        if isinstance(part, str):
            return part.encode("latin-1")
        if "ms" in part:
            return str(self._origin_ms + part["ms"]).encode()
        return b"\xcf" + (self._origin_ms + part["packed_ms"]).to_bytes(8, "big")

    def score(self, value: float) -> Any:
        near = abs(value - self._origin_ms) <= _NEAR_MS
        return {"ms": value - self._origin_ms} if near else value

    def number(self, score: Any) -> float:
        return float(self._origin_ms + score["ms"]) if isinstance(score, dict) else float(score)


# -- types of values ---------------------------------------------------------------------------------------------


async def _read_string(redis: Redis, key: bytes, clock: _Clock) -> Any:
    return clock.text(await redis.get(key))


async def _read_list(redis: Redis, key: bytes, clock: _Clock) -> Any:
    return [clock.text(item) for item in await redis.lrange(key, 0, -1)]


async def _read_set(redis: Redis, key: bytes, clock: _Clock) -> Any:
    return [clock.text(item) for item in sorted(await redis.smembers(key))]


async def _read_hash(redis: Redis, key: bytes, clock: _Clock) -> Any:
    pairs = sorted((await redis.hgetall(key)).items())
    return [[clock.text(name), clock.text(value)] for name, value in pairs]


async def _read_zset(redis: Redis, key: bytes, clock: _Clock) -> Any:
    pairs = await redis.zrange(key, 0, -1, withscores=True)
    return [[clock.text(member), clock.score(score)] for member, score in pairs]


async def _read_stream(redis: Redis, key: bytes, clock: _Clock) -> Any:
    entries = [
        [clock.text(entry), [[clock.text(name), clock.text(value)] for name, value in fields.items()]]
        for entry, fields in await redis.xrange(key)
    ]
    last = (await redis.xinfo_stream(key))["last-generated-id"]
    groups = [await _read_group(redis, key, group, clock) for group in await redis.xinfo_groups(key)]
    return {"entries": entries, "last": clock.text(last), "groups": groups}


async def _read_group(redis: Redis, key: bytes, group: dict[str, Any], clock: _Clock) -> Any:
    consumers = [one["name"].decode() for one in await redis.xinfo_consumers(key, group["name"])]
    pending = [
        [clock.text(one["message_id"]), one["consumer"].decode(), one["time_since_delivered"]]
        for one in await redis.xpending_range(key, group["name"], "-", "+", 10_000)
    ]
    last = clock.text(group["last-delivered-id"])
    return {"name": group["name"].decode(), "last": last, "consumers": consumers, "pending": pending}


async def _write_string(redis: Redis, key: bytes, value: Any, clock: _Clock, _: int) -> None:
    await redis.set(key, clock.raw(value))


async def _write_list(redis: Redis, key: bytes, value: Any, clock: _Clock, _: int) -> None:
    await redis.rpush(key, *map(clock.raw, value))


async def _write_set(redis: Redis, key: bytes, value: Any, clock: _Clock, _: int) -> None:
    await redis.sadd(key, *map(clock.raw, value))


async def _write_hash(redis: Redis, key: bytes, value: Any, clock: _Clock, _: int) -> None:
    await redis.hset(key, mapping={clock.raw(name): clock.raw(text) for name, text in value})


async def _write_zset(redis: Redis, key: bytes, value: Any, clock: _Clock, _: int) -> None:
    await redis.zadd(key, {clock.raw(member): clock.number(score) for member, score in value})


async def _write_stream(redis: Redis, key: bytes, value: Any, clock: _Clock, away_ms: int) -> None:
    for group in value["groups"]:
        await redis.xgroup_create(key, group["name"], "0", mkstream=True)
    for entry, fields in value["entries"]:
        words = {clock.raw(name): clock.raw(text) for name, text in fields}
        await redis.xadd(key, words, id=clock.raw(entry))
    await redis.execute_command("XSETID", key, clock.raw(value["last"]))
    for group in value["groups"]:
        await redis.xgroup_setid(key, group["name"], clock.raw(group["last"]))
        for consumer in group["consumers"]:
            await redis.xgroup_createconsumer(key, group["name"], consumer)
        for entry, consumer, idle_ms in group["pending"]:
            claimed = [clock.raw(entry)]
            idle = idle_ms + away_ms
            await redis.xclaim(key, group["name"], consumer, 0, claimed, idle=idle, force=True, justid=True)


_READ: Final = {
    "string": _read_string,
    "list": _read_list,
    "set": _read_set,
    "hash": _read_hash,
    "zset": _read_zset,
    "stream": _read_stream,
}
_WRITE: Final = {
    "string": _write_string,
    "list": _write_list,
    "set": _write_set,
    "hash": _write_hash,
    "zset": _write_zset,
    "stream": _write_stream,
}
