"""The cache of API tokens, and its lifetime."""

import asyncio
from collections.abc import Sequence

import pytest

from gateway.errors import ApiTokenRefused, AuthenticationBusy, StoreDown
from gateway.http_api import token_cache
from gateway.http_api.token_cache import CACHE_S, VALID_S, TokenCache, principal_of
from gateway.registry.accounts import NAME_CHARACTERS, TokenRole

WORTH = {"admin": TokenRole.ADMIN, "bob": TokenRole.OTHER}


class Store:
    """Answers from a dict, and counts the questions."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.ended = 0
        """Number of questions that were cancelled."""
        self.batches: list[list[str]] = []
        self.blocked = asyncio.Event()
        self.blocked.set()
        self.worth = dict(WORTH)
        self.down = False
        self.now = 100.0
        self.answering = asyncio.Event()
        self.answering.set()
        self.book = TokenCache(self.ask, self.ask_many, clock=lambda: self.now)

    async def ask(self, token: str) -> TokenRole:
        self.asked.append(token)
        try:
            await self.answering.wait()
        except asyncio.CancelledError:
            self.ended += 1
            raise
        if self.down:
            raise StoreDown("gone")
        return self.worth.get(token, TokenRole.MISSING)

    async def ask_many(self, tokens: Sequence[str]) -> list[TokenRole]:
        self.batches.append(list(tokens))
        await self.blocked.wait()
        return [await self.ask(token) for token in tokens]


@pytest.mark.parametrize("token", ["admin", "bob", "unknown"])
async def test_an_answer_is_cached_for_a_limited_time(token: str) -> None:
    store = Store()
    worth = WORTH.get(token, TokenRole.MISSING)
    assert store.book.known(token) is None
    assert await store.book.role(token) is worth
    store.now += CACHE_S - 0.01
    assert store.book.known(token) is worth
    assert store.book.lookup(token, "") is worth
    assert await store.book.role(token) is worth
    assert store.asked == [token]
    store.now += 0.01
    assert store.book.known(token) is None
    assert store.book.lookup(token, "") is None
    store.worth[token] = TokenRole.OTHER
    assert await store.book.role(token) is TokenRole.OTHER
    assert store.book.known(token) is TokenRole.OTHER


async def test_a_missing_token_causes_no_look_up() -> None:
    store = Store()
    assert store.book.lookup("", "") is TokenRole.MISSING
    assert await store.book.resolve("", "") is TokenRole.MISSING
    assert store.asked == []


@pytest.mark.parametrize(
    ("header", "parameter", "worth"),
    [
        ("admin", "", TokenRole.ADMIN),
        ("", "admin", TokenRole.ADMIN),
        ("unknown", "admin", TokenRole.ADMIN),
        ("bob", "admin", TokenRole.OTHER),
        ("unknown", "bob", TokenRole.OTHER),
        ("unknown", "unknown", TokenRole.MISSING),
    ],
)
async def test_the_header_decides_if_its_token_exists(header: str, parameter: str, worth: TokenRole) -> None:
    store = Store()
    assert store.book.lookup(header, parameter) is None
    assert await store.book.resolve(header, parameter) is worth
    assert store.book.lookup(header, parameter) is worth


async def test_concurrent_callers_share_one_look_up() -> None:
    store = Store()
    store.answering.clear()
    callers = [asyncio.ensure_future(store.book.role("admin")) for _ in range(10)]
    await asyncio.sleep(0)
    callers[0].cancel()
    store.answering.set()
    found = await asyncio.gather(*callers, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert found[1:] == [TokenRole.ADMIN] * 9
    assert store.asked == ["admin"]


async def test_a_failure_is_not_cached() -> None:
    store = Store()
    store.down = True
    with pytest.raises(StoreDown):
        await store.book.role("admin")
    store.down = False
    assert await store.book.role("admin") is TokenRole.ADMIN


async def test_invented_tokens_do_not_evict_valid_ones() -> None:
    store = Store()
    await store.book.role("admin")
    for number in range(10_000):
        await store.book.role(f"invented{number}")
    assert store.book.known("admin") is TokenRole.ADMIN
    assert len(store.book._others) <= 4_096


async def test_a_text_too_long_for_a_token_is_neither_looked_up_nor_cached() -> None:
    """A body's api_token may be as long as the body."""
    store = Store()
    endless = "x" * (NAME_CHARACTERS + 1)
    assert store.book.lookup("", endless) is TokenRole.MISSING
    assert await store.book.resolve(endless, endless) is TokenRole.MISSING
    assert store.asked == []
    await store.book.role(endless[1:])
    assert store.asked == [endless[1:]]


async def test_clearing_removes_cached_tokens() -> None:
    store = Store()
    await store.book.role("admin")
    store.book.clear()
    assert store.book.known("admin") is None


@pytest.mark.parametrize(
    ("role", "words"),
    [(TokenRole.MISSING, "No API token provided"), (TokenRole.OTHER, "Invalid/missing API user")],
)
def test_rhoconnects_words(role: TokenRole, words: str) -> None:
    principal_of(TokenRole.ADMIN)
    with pytest.raises(ApiTokenRefused, match=f"^{words}$"):
        principal_of(role)


async def test_a_recently_valid_token_is_looked_up_alone_and_others_in_batches() -> None:
    store = Store()
    await store.book.role("admin")
    assert store.batches == [["admin"]]
    store.now += CACHE_S
    assert await store.book.role("admin") is TokenRole.ADMIN
    store.now += VALID_S - CACHE_S - 1
    assert await store.book.role("admin") is TokenRole.ADMIN
    assert store.batches == [["admin"]]
    store.now += VALID_S
    assert await store.book.role("admin") is TokenRole.ADMIN
    assert store.batches == [["admin"]] * 2


async def test_the_configured_token_is_looked_up_alone_from_the_start() -> None:
    store = Store()
    book = TokenCache(store.ask, store.ask_many, is_configured=lambda token: token == "admin")
    assert await book.role("admin") is TokenRole.ADMIN
    assert store.batches == []


async def test_a_good_token_does_not_wait_for_invented_ones() -> None:
    store = Store()
    await store.book.role("admin")
    store.now += CACHE_S
    store.blocked.clear()
    flood = [asyncio.ensure_future(store.book.role(f"invented{n}", "flood")) for n in range(10_000)]
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        assert await store.book.role("admin", "flood") is TokenRole.ADMIN
    store.blocked.set()
    found = await asyncio.gather(*flood, return_exceptions=True)
    busy = sum(isinstance(one, AuthenticationBusy) for one in found)
    assert busy > 5_000, "what waits is bounded"
    assert found.count(TokenRole.MISSING) == 10_000 - busy


async def test_a_revoked_token_is_detected_in_time_and_loses_its_priority() -> None:
    store = Store()
    await store.book.role("admin")
    del store.worth["admin"]
    store.now += CACHE_S
    assert await store.book.role("admin") is TokenRole.MISSING
    store.now += CACHE_S
    await store.book.role("admin")
    assert store.batches == [["admin"]] * 2


async def test_the_cache_is_bounded() -> None:
    store = Store()
    for number in range(5_000):
        await store.book.role(f"invented{number}")
    assert len(store.book._others) == 4_096
    assert store.book.known("invented4999") is TokenRole.MISSING, "the oldest make room"
    await store.book.role("x" * 200)
    assert store.book.known("x" * 200) is None, "a long one is not kept"
    for number in range(5_000):
        store.worth[f"good{number}"] = TokenRole.ADMIN
        await store.book.role(f"good{number}")
    assert len(store.book._admins) == 4_096
    assert store.book.known("good4999") is TokenRole.ADMIN


@pytest.mark.parametrize("role", [TokenRole.ADMIN, TokenRole.OTHER])
async def test_the_token_looked_up_longest_ago_is_evicted_first(
    monkeypatch: pytest.MonkeyPatch, role: TokenRole
) -> None:
    monkeypatch.setattr(token_cache, "_ADMINS_MAX", 3)
    monkeypatch.setattr(token_cache, "_OTHERS_MAX", 3)
    store = Store()
    store.worth = dict.fromkeys(("first", "second", "third", "fourth"), role)
    for token in ("first", "second", "third"):
        await store.book.role(token)
    store.now += CACHE_S
    await store.book.role("second")  # is the newest from here on
    store.now += CACHE_S / 2
    await store.book.role("first")
    await store.book.role("fourth")
    kept = store.book._admins if role is TokenRole.ADMIN else store.book._others
    assert list(kept) == ["second", "first", "fourth"]
    assert [store.book.known(token) for token in ("first", "second", "fourth")] == [role] * 3


async def test_a_token_that_is_made_after_its_refusal_is_looked_up_again() -> None:
    store = Store()
    assert await store.book.role("new") is TokenRole.MISSING
    store.worth["new"] = TokenRole.ADMIN
    store.book.clear()
    assert await store.book.role("new") is TokenRole.ADMIN


async def test_the_close_waits_for_the_ends_of_the_look_ups() -> None:
    store = Store()
    await store.book.role("admin")
    store.now += CACHE_S
    store.answering.clear()
    caller = asyncio.ensure_future(store.book.role("admin"))
    while store.asked != ["admin"] * 2:
        await asyncio.sleep(0)
    await store.book.close()
    assert store.ended == 1
    with pytest.raises(asyncio.CancelledError):
        await caller
