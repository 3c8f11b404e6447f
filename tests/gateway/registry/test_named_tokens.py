"""Named tokens in Redis."""

import pytest
from redis.asyncio import Redis

from gateway.errors import NameTaken, NotFound, ScopeMissing, StoreDown
from gateway.registry.named_tokens import (
    PREFIX,
    NamedToken,
    NamedTokens,
    digest_of,
    has_form,
    instant_text_of_s,
    new_token,
)
from gateway.registry.scopes import API_TOKEN, Principal, Scope
from gateway.store import keys
from gateway.store.client_factory import RedisAddress, client
from protocols.errors import InvalidField
from tests.support.ports import free_port

NOW_S = 1_800_000_000


class Clock:
    """Both clocks of the tokens, which a test sets."""

    def __init__(self) -> None:
        self.at = float(NOW_S)

    def __call__(self) -> float:
        return self.at


def named(redis: Redis, clock: Clock | None = None) -> NamedTokens:
    clock = clock or Clock()
    return NamedTokens(redis, clock, clock)


def token(name: str = "ci", scopes: tuple[str, ...] = ("ping",), **options: object) -> NamedToken:
    apps, expires_at = options.get("apps", ()), options.get("expires_at")
    assert isinstance(apps, tuple)
    assert expires_at is None or isinstance(expires_at, int)
    return new_token(name, scopes, apps, expires_at, API_TOKEN, NOW_S)


async def test_a_token_leads_to_its_caller(redis_client: Redis) -> None:
    ours = named(redis_client)
    text = await ours.create(token(scopes=("ping", "read"), apps=("com.example.a",)))
    assert has_form(text)
    assert text.startswith(PREFIX)
    (found,) = await ours.find([text])
    assert found == Principal(
        "ci", frozenset({Scope.PING, Scope.READ}), frozenset({"com.example.a"}), digest_of(text)
    )
    assert await ours.find(["rhp_invented", text, ""]) == [None, found, None]


async def test_redis_holds_no_token(redis_client: Redis) -> None:
    ours = named(redis_client)
    text = await ours.create(token())
    await ours.find([text])
    stored = b""
    for key in await redis_client.keys("*"):
        stored += key + repr(await redis_client.hgetall(key)).encode()
    assert digest_of(text).encode() in stored
    assert text.encode() not in stored
    assert text.removeprefix(PREFIX).encode() not in stored


async def test_a_revoked_token_is_gone_with_all_its_traces(redis_client: Redis) -> None:
    ours = named(redis_client)
    text = await ours.create(token())
    await ours.find([text])
    await ours.revoke("ci")
    assert await ours.find([text]) == [None]
    assert await redis_client.keys("*") == []
    with pytest.raises(NotFound):
        await ours.revoke("ci")


async def test_a_token_expires(redis_client: Redis) -> None:
    clock = Clock()
    ours = named(redis_client, clock)
    text = await ours.create(token(expires_at=NOW_S + 60))
    clock.at += 59.9
    assert (await ours.find([text]))[0] is not None
    clock.at += 0.1
    assert await ours.find([text]) == [None]
    assert [one.token.expired(clock.at) for one in await ours.all()] == [True]


async def test_the_last_use_is_written_once_a_minute(redis_client: Redis) -> None:
    clock = Clock()
    first, second = named(redis_client, clock), named(redis_client, clock)
    text = await first.create(token())
    assert [one.last_used_at for one in await first.all()] == [None]
    await first.find([text])
    for seconds in (1, 58):
        clock.at += seconds
        await first.find([text])
        await second.find([text])  # another worker reads in Redis that the use is written
        assert [one.last_used_at for one in await first.all()] == [NOW_S]
    clock.at += 1
    await second.find([text])
    await first.find([text])
    assert [one.last_used_at for one in await first.all()] == [NOW_S + 60]


async def test_a_session_of_a_token_is_a_use(redis_client: Redis) -> None:
    ours = named(redis_client)
    digest = digest_of(await ours.create(token()))
    (caller,) = await ours.find_digests([digest])
    assert caller is not None
    assert [one.last_used_at for one in await ours.all()] == [NOW_S]


async def test_a_redis_that_takes_no_writes_refuses_no_token(redis_client: Redis) -> None:
    ours = named(redis_client)
    text = await ours.create(token())
    await redis_client.set(keys.NAMED_TOKENS_USED, "of another type")
    assert (await ours.find([text]))[0] is not None


async def test_a_name_is_used_once(redis_client: Redis) -> None:
    ours = named(redis_client)
    text = await ours.create(token())
    with pytest.raises(NameTaken):
        await ours.create(token(scopes=("admin",)))
    assert (await ours.find([text]))[0] is not None
    assert [one.token.scopes for one in await ours.all()] == [("ping",)]


async def test_their_number_is_bounded(redis_client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "NAMED_TOKENS_MAX", 2)
    ours = named(redis_client)
    for name in ("b", "a"):
        await ours.create(token(name))
    with pytest.raises(NameTaken, match="there are 2 tokens"):
        await ours.create(token("c"))
    assert [one.token.name for one in await ours.all()] == ["a", "b"]


async def test_a_record_of_a_later_version_grants_what_is_known(redis_client: Redis) -> None:
    ours = named(redis_client)
    text = await ours.create(token())
    later = b'{"name":"ci","scopes":["fly","ping"],"created_at":1,"created_by":"x","color":"red"}'
    await redis_client.hset(keys.NAMED_TOKENS, digest_of(text), later)
    (found,) = await ours.find([text])
    assert found is not None
    assert found.scopes == {Scope.PING}
    for damaged in (b"{", b"\xff", b"[]"):
        await redis_client.hset(keys.NAMED_TOKENS, digest_of(text), damaged)
        assert await ours.find([text]) == [None]
        assert await ours.all() == []


@pytest.mark.parametrize(
    ("field", "name", "scopes", "apps", "expires_at"),
    [
        ("name", "", ["ping"], [], None),
        ("name", "api_token", ["ping"], [], None),
        ("name", "a b", ["ping"], [], None),
        ("name", "x" * 65, ["ping"], [], None),
        ("scopes", "ci", [], [], None),
        ("scopes", "ci", ["ping", "fly"], [], None),
        ("apps", "ci", ["ping"], [""], None),
        ("apps", "ci", ["ping"], ["a\nb"], None),
        ("apps", "ci", ["ping"], [f"app{number}" for number in range(101)], None),
        ("apps", "ci", ["admin"], ["com.example.a"], None),
        ("expires_at", "ci", ["ping"], [], NOW_S),
    ],
)
def test_a_wrong_property_is_named(
    field: str, name: str, scopes: list[str], apps: list[str], expires_at: int | None
) -> None:
    with pytest.raises(InvalidField) as caught:
        new_token(name, scopes, apps, expires_at, API_TOKEN, NOW_S)
    assert caught.value.field == field


def test_a_token_grants_no_more_than_its_creator_has() -> None:
    creator = Principal("ci", frozenset({Scope.READ, Scope.PING}))
    assert new_token("sub", ["ping"], [], None, creator, NOW_S).created_by == "ci"
    with pytest.raises(ScopeMissing, match="devices"):
        new_token("sub", ["ping", "devices"], [], None, creator, NOW_S)


def test_repeated_scopes_and_apps_count_once() -> None:
    made = new_token("ci", ["ping", "ping"], ["a", "a"], None, API_TOKEN, NOW_S)
    assert (made.scopes, made.apps) == (("ping",), ("a",))


async def test_a_redis_that_does_not_answer_is_an_error() -> None:
    away = client(RedisAddress("127.0.0.1", free_port()))
    with pytest.raises(StoreDown):
        await named(away).find(["rhp_x"])
    await away.aclose()


def test_instants_are_shown_in_utc() -> None:
    assert instant_text_of_s(NOW_S) == "2027-01-15T08:00:00Z"
    assert [instant_text_of_s(value) for value in (None, -1, 10**15)] == [None, None, None]


def test_only_the_exact_form_is_a_named_token() -> None:
    assert has_form("rhp_" + "a" * 43)
    for text in ("", "rhp_", "rhp_" + "a" * 42, "rhp_" + "a" * 44, "xyz_" + "a" * 43, "rhp_" + "é" * 43):
        assert not has_form(text)
