"""Session cookies: issued ones are accepted, all others are refused."""

import base64

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.http_api.sessions import LIFETIME_S, Session, Sessions, SharedSessions

NOW = 1_800_000_000.0
BOB = Session("bob", "f1", int(NOW) + 10)
ours = Sessions(b"a secret of 32 bytes ...........")


@given(login=st.text(max_size=40), admin=st.booleans())
@example(login="000\r\x80\x80\x80\x803\uf000", admin=False)  # its base64 holds the separator
def test_an_issued_session_is_accepted(login: str, admin: bool) -> None:
    session = Session(login, "f", int(NOW) + 1, admin)
    if any(0xD800 <= ord(character) <= 0xDFFF for character in login):
        return
    value = ours.issue(session)
    assert ours.read(value, NOW) == session
    assert value.isascii()
    assert not set(value) & set(' ",;\\=')


def test_it_ends() -> None:
    value = ours.issue(BOB)
    assert ours.read(value, BOB.until_s - 0.1) == BOB
    assert ours.read(value, BOB.until_s) is None


def test_a_session_of_another_secret_is_refused() -> None:
    assert Sessions(b"other").read(ours.issue(BOB), NOW) is None


@given(place=st.integers(0, 200), bit=st.integers(0, 6))
def test_one_changed_bit_ends_it(place: int, bit: int) -> None:
    value = ours.issue(BOB)
    at = place % len(value)
    changed = value[:at] + chr(ord(value[at]) ^ (1 << bit)) + value[at + 1 :]
    assert ours.read(changed, NOW) is None


@given(st.text(max_size=200))
def test_garbage_is_no_session(value: str) -> None:
    assert ours.read(value, NOW) is None


@pytest.mark.parametrize("inside", [b"{}", b'["bob"]', b"not json", b"\xff"])
def test_garbage_with_a_valid_mac_is_no_session(inside: bytes) -> None:
    text = base64.urlsafe_b64encode(inside).rstrip(b"=")
    assert ours.read(f"{text.decode()}--{ours._mac(text)}", NOW) is None


def test_an_admins_mark_cannot_be_added() -> None:
    value = ours.issue(BOB)
    forged = base64.urlsafe_b64encode(msgspec.json.encode(["rhoadmin", "f1", BOB.until_s, True])).rstrip(b"=")
    assert ours.read(f"{forged.decode()}--{value.partition('--')[2]}", NOW) is None


@pytest.mark.parametrize(
    ("ahead_s", "read"), [(-86_400, True), (0, True), (86_400, True), (3 * 86_400, False)]
)
def test_a_session_made_by_a_clock_that_was_far_ahead_does_not_outlive_all_others(
    ahead_s: int, read: bool
) -> None:
    made = Session("bob", "f1", int(NOW) + ahead_s + LIFETIME_S)
    assert (ours.read(ours.issue(made), NOW) == made) == read


class Keys:
    """A key in Redis that counts how often it is read, and a clock."""

    def __init__(self) -> None:
        self.key = b"the first key of 32 bytes ......"
        self.reads = 0
        self.now_s = 50.0

    async def read(self) -> bytes:
        self.reads += 1
        return self.key

    def clock(self) -> float:
        return self.now_s


async def test_a_key_is_read_for_each_new_session_and_once_a_second_for_the_others() -> None:
    keys = Keys()
    shared = SharedSessions(keys.read, keys.clock)
    value = await shared.issue(BOB)
    assert [await shared.read(value, NOW) for _ in range(5)] == [BOB] * 5
    assert keys.reads == 1
    await shared.issue(BOB)
    assert keys.reads == 2
    keys.now_s += 1.0
    assert [await shared.read(value, NOW) for _ in range(5)] == [BOB] * 5
    assert keys.reads == 3


async def test_a_new_key_is_found_by_a_session_that_it_signed() -> None:
    keys = Keys()
    shared = SharedSessions(keys.read, keys.clock)
    former = await shared.issue(BOB)
    keys.key = b"the second key of 32 bytes ....."
    value = Sessions(keys.key).issue(BOB)
    keys.now_s += 0.1
    assert await shared.read(value, NOW) == BOB
    assert await shared.read(former, NOW) is None
    assert await shared.read(await shared.issue(BOB), NOW) == BOB


async def test_many_invented_sessions_cause_few_reads_of_the_key() -> None:
    keys = Keys()
    shared = SharedSessions(keys.read, keys.clock)
    for number in range(1_000):
        assert await shared.read(f"invented--{number:064x}", NOW) is None
        keys.now_s += 0.001
    assert keys.reads <= 12
