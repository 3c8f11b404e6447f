"""What is remembered of API tokens, and for how long."""

import asyncio
from collections.abc import Sequence

import pytest

from gateway.errors import ApiTokenRefused, AuthenticationBusy, StoreDown
from gateway.http_api.token_cache import KEEP_S, VALID_S, TokenBook, require_admin
from gateway.registry.accounts import NAME_CHARACTERS, Standing

WORTH = {"admin": Standing.ADMIN, "bob": Standing.OTHER}


class Store:
    """Answers from a dict, and counts the questions."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.batches: list[list[str]] = []
        self.blocked = asyncio.Event()
        self.blocked.set()
        self.worth = dict(WORTH)
        self.down = False
        self.now = 100.0
        self.answering = asyncio.Event()
        self.answering.set()
        self.book = TokenBook(self.ask, self.ask_many, clock=lambda: self.now)

    async def ask(self, token: str) -> Standing:
        self.asked.append(token)
        await self.answering.wait()
        if self.down:
            raise StoreDown("gone")
        return self.worth.get(token, Standing.MISSING)

    async def ask_many(self, tokens: Sequence[str]) -> list[Standing]:
        self.batches.append(list(tokens))
        await self.blocked.wait()
        return [await self.ask(token) for token in tokens]


@pytest.mark.parametrize("token", ["admin", "bob", "unknown"])
async def test_an_answer_holds_for_a_while(token: str) -> None:
    store = Store()
    worth = WORTH.get(token, Standing.MISSING)
    assert store.book.known(token) is None
    assert await store.book.standing(token) is worth
    store.now += KEEP_S - 0.01
    assert store.book.known(token) is worth
    assert await store.book.standing(token) is worth
    assert store.asked == [token]
    store.now += 0.01
    assert store.book.known(token) is None
    store.worth[token] = Standing.OTHER
    assert await store.book.standing(token) is Standing.OTHER
    assert store.book.known(token) is Standing.OTHER


async def test_no_token_is_no_question() -> None:
    store = Store()
    assert store.book.judge("", "") is Standing.MISSING
    assert await store.book.ask("", "") is Standing.MISSING
    assert store.asked == []


@pytest.mark.parametrize(
    ("header", "parameter", "worth"),
    [
        ("admin", "", Standing.ADMIN),
        ("", "admin", Standing.ADMIN),
        ("unknown", "admin", Standing.ADMIN),
        ("bob", "admin", Standing.OTHER),
        ("unknown", "bob", Standing.OTHER),
        ("unknown", "unknown", Standing.MISSING),
    ],
)
async def test_the_header_decides_if_its_token_exists(header: str, parameter: str, worth: Standing) -> None:
    store = Store()
    assert store.book.judge(header, parameter) is None
    assert await store.book.ask(header, parameter) is worth
    assert store.book.judge(header, parameter) is worth


async def test_many_callers_share_one_question_and_survive_each_other() -> None:
    store = Store()
    store.answering.clear()
    callers = [asyncio.ensure_future(store.book.standing("admin")) for _ in range(10)]
    await asyncio.sleep(0)
    callers[0].cancel()
    store.answering.set()
    found = await asyncio.gather(*callers, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert found[1:] == [Standing.ADMIN] * 9
    assert store.asked == ["admin"]


async def test_a_failure_is_not_remembered() -> None:
    store = Store()
    store.down = True
    with pytest.raises(StoreDown):
        await store.book.standing("admin")
    store.down = False
    assert await store.book.standing("admin") is Standing.ADMIN


async def test_invented_tokens_do_not_push_out_good_ones() -> None:
    store = Store()
    await store.book.standing("admin")
    for number in range(10_000):
        await store.book.standing(f"invented{number}")
    assert store.book.known("admin") is Standing.ADMIN
    assert len(store.book._others) <= 4_096


async def test_a_text_too_long_for_a_token_is_neither_asked_about_nor_kept() -> None:
    """A body's api_token may be as long as the body."""
    store = Store()
    endless = "x" * (NAME_CHARACTERS + 1)
    assert store.book.judge("", endless) is Standing.MISSING
    assert await store.book.ask(endless, endless) is Standing.MISSING
    assert store.asked == []
    await store.book.standing(endless[1:])
    assert store.asked == [endless[1:]]


async def test_forgetting() -> None:
    store = Store()
    await store.book.standing("admin")
    store.book.forget()
    assert store.book.known("admin") is None


@pytest.mark.parametrize(
    ("standing", "words"),
    [(Standing.MISSING, "No API token provided"), (Standing.OTHER, "Invalid/missing API user")],
)
def test_rhoconnects_words(standing: Standing, words: str) -> None:
    require_admin(Standing.ADMIN)
    with pytest.raises(ApiTokenRefused, match=f"^{words}$"):
        require_admin(standing)


async def test_a_token_that_was_valid_is_asked_about_alone_and_others_in_batches() -> None:
    store = Store()
    await store.book.standing("admin")
    assert store.batches == [["admin"]]
    store.now += KEEP_S
    assert await store.book.standing("admin") is Standing.ADMIN
    store.now += VALID_S - KEEP_S - 1
    assert await store.book.standing("admin") is Standing.ADMIN
    assert store.batches == [["admin"]]
    store.now += VALID_S
    assert await store.book.standing("admin") is Standing.ADMIN
    assert store.batches == [["admin"]] * 2


async def test_the_configured_token_is_asked_about_alone_from_the_start() -> None:
    store = Store()
    book = TokenBook(store.ask, store.ask_many, favoured=lambda token: token == "admin")
    assert await book.standing("admin") is Standing.ADMIN
    assert store.batches == []


async def test_a_good_token_does_not_wait_for_invented_ones() -> None:
    store = Store()
    await store.book.standing("admin")
    store.now += KEEP_S
    store.blocked.clear()
    flood = [asyncio.ensure_future(store.book.standing(f"invented{n}", "flood")) for n in range(10_000)]
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        assert await store.book.standing("admin", "flood") is Standing.ADMIN
    store.blocked.set()
    found = await asyncio.gather(*flood, return_exceptions=True)
    busy = sum(isinstance(one, AuthenticationBusy) for one in found)
    assert busy > 5_000, "what waits is bounded"
    assert found.count(Standing.MISSING) == 10_000 - busy


async def test_a_revoked_token_is_noticed_in_time_and_asked_about_first_no_more() -> None:
    store = Store()
    await store.book.standing("admin")
    del store.worth["admin"]
    store.now += KEEP_S
    assert await store.book.standing("admin") is Standing.MISSING
    store.now += KEEP_S
    await store.book.standing("admin")
    assert store.batches == [["admin"]] * 2


async def test_what_is_remembered_is_bounded() -> None:
    store = Store()
    for number in range(5_000):
        await store.book.standing(f"invented{number}")
    assert len(store.book._others) == 4_096
    assert store.book.known("invented4999") is Standing.MISSING, "the oldest make room"
    await store.book.standing("x" * 200)
    assert store.book.known("x" * 200) is None, "a long one is not kept"
    for number in range(5_000):
        store.worth[f"good{number}"] = Standing.ADMIN
        await store.book.standing(f"good{number}")
    assert len(store.book._admins) == 4_096
    assert store.book.known("good4999") is Standing.ADMIN
