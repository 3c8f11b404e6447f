"""Ids of both schemes: made, verified, and never confused."""

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.rhoconnect_push.ids import INSTANCE_NONCE_BITS, TOKEN_NONCE_BITS, Ids, IdValidity

SECRET = b"a secret of 16 B"
OTHER = b"another secret, as long"
UUID = "0e5f2b1a-1d52-4c7c-9b7e-2d1f6a3c9e01"
NONCE = 0x0123_4567_89AB_CDEF
SIGNED = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}:[0-9a-f]{32}")
"""A UUID of version 8 as in RFC 9562, and an md5."""
NONCES = st.integers(0, (1 << INSTANCE_NONCE_BITS) - 1)
TOKEN_NONCES = st.integers(0, (1 << TOKEN_NONCE_BITS) - 1)


def rhoconnect_push(made: str, owner: str, kind: str) -> bool:
    """rhoconnect-push's own check (contract §9), without any code of the product: md5 over owner, uuid and fixed
    text."""
    uuid = made.split(":")[0]
    return made == f"{uuid}:{hashlib.md5(f'{owner}{uuid}{kind}Secret'.encode()).hexdigest()}"


def old(kind: str, owner: str, uuid: str = UUID) -> str:
    """An id as rhoconnect-push makes it."""
    return f"{uuid}:{hashlib.md5(f'{owner}{uuid}{kind}Secret'.encode()).hexdigest()}"


@given(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")), NONCES, TOKEN_NONCES)
def test_new_ids_satisfy_rhoconnect_pushs_check(user: str, app: str, nonce: int, token_nonce: int) -> None:
    ids = Ids(SECRET)
    instance, token = ids.instance(user, nonce), ids.token(app, token_nonce, user)
    assert rhoconnect_push(instance, user, "instance")
    assert rhoconnect_push(ids.cookie(instance), instance, "cookie")
    assert rhoconnect_push(token, app, "token")
    assert all(SIGNED.fullmatch(made) for made in (instance, ids.cookie(instance), token))


@given(st.text(), NONCES)
def test_ids_are_verified(owner: str, nonce: int) -> None:
    ids = Ids(SECRET, weak=False)
    instance = ids.instance(owner, nonce)
    assert ids.made_for(instance, owner)
    assert ids.of_cookie(ids.cookie(instance), instance) is IdValidity.GOOD
    token_nonce = nonce >> INSTANCE_NONCE_BITS - TOKEN_NONCE_BITS
    assert ids.of_token(ids.token(owner, token_nonce, "mike"), owner) is IdValidity.GOOD


def test_an_id_belongs_to_its_owner_alone() -> None:
    ids = Ids(SECRET)
    instance, other = ids.instance("mike", NONCE), ids.instance("mike", NONCE + 1)
    assert not ids.made_for(instance, "mik")
    assert not ids.made_for(ids.token("mike", 1, "mike"), "mike"), "a token is no instance"
    assert ids.of_cookie(ids.cookie(other), instance) is IdValidity.WRONG
    assert ids.of_token(ids.token("app", 1, "mike"), "other") is IdValidity.WRONG
    assert ids.of_token(instance, "mike") is IdValidity.WRONG


@pytest.mark.parametrize("weak", [True, False])
def test_nobody_without_the_secret_makes_a_signed_id(weak: bool) -> None:
    """All uuids of version 8 whose md5 is correct, but whose HMAC is not."""
    ids, forger = Ids(SECRET, weak=weak), Ids(OTHER)
    instance = ids.instance("mike", NONCE)
    forged = old("cookie", instance, forger.cookie(instance).split(":")[0])
    assert rhoconnect_push(forged, instance, "cookie")
    assert ids.of_cookie(forged, instance) is IdValidity.FORGEABLE
    assert ids.of_cookie(old("cookie", instance), instance) is IdValidity.FORGEABLE
    assert ids.of_token(forger.token("app", 1, "mike"), "app") is IdValidity.UNKNOWN
    assert not ids.made_for(forger.instance("mike", NONCE), "mike")


@pytest.mark.parametrize("weak", [True, False])
def test_each_bit_of_a_signed_uuid_counts(weak: bool) -> None:
    """All but the 6 that make it a UUID of version 8."""
    ids = Ids(SECRET, weak=weak)
    instance = ids.instance("mike", NONCE)
    cookie, token = ids.cookie(instance).split(":")[0], ids.token("app", 77, "mike").split(":")[0]
    for bit in (*range(62), *range(64, 76), *range(80, 128)):
        assert not ids.made_for(old("instance", "mike", flipped(instance.split(":")[0], bit)), "mike")
        altered = old("cookie", instance, flipped(cookie, bit))
        assert ids.of_cookie(altered, instance) is IdValidity.FORGEABLE
        assert ids.of_token(old("token", "app", flipped(token, bit)), "app") is IdValidity.UNKNOWN


def flipped(uuid: str, bit: int) -> str:
    text = f"{int(uuid.replace('-', ''), 16) ^ 1 << bit:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def test_an_id_of_another_secret_is_unknown_and_not_wrong() -> None:
    lost, ids = Ids(OTHER), Ids(SECRET)
    instance = lost.instance("mike", NONCE)
    assert ids.of_cookie(lost.cookie(instance), instance) is IdValidity.UNKNOWN
    assert ids.of_cookie(old("cookie", instance), instance) is IdValidity.UNKNOWN
    assert ids.of_cookie("bad:cookie", instance) is IdValidity.WRONG
    assert not ids.made_for(instance, "mike")


def test_rhoconnect_pushs_ids_are_accepted_until_that_is_ended() -> None:
    instance, token = old("instance", "mike"), old("token", "app")
    cookie = old("cookie", instance)
    on, off = Ids(SECRET), Ids(SECRET, weak=False)
    assert [ids.of_cookie(cookie, instance) for ids in (on, off)] == [IdValidity.GOOD, IdValidity.OUTDATED]
    assert off.of_cookie(old("cookie", "other"), instance) is IdValidity.WRONG
    assert [ids.of_token(token, "app") for ids in (on, off)] == [IdValidity.GOOD, IdValidity.FORGEABLE]
    assert [ids.made_for(instance, "mike") for ids in (on, off)] == [True, True]
    assert on.of_cookie(old("cookie", "other"), instance) is IdValidity.WRONG
    assert on.of_token(token, "other") is IdValidity.WRONG
    assert not on.made_for(instance, "other")


def test_an_old_instance_with_a_signed_cookie_counts_for_ever() -> None:
    instance = old("instance", "mike")
    cookie = Ids(SECRET).cookie(instance)
    assert rhoconnect_push(cookie, instance, "cookie")
    assert Ids(SECRET, weak=False).of_cookie(cookie, instance) is IdValidity.GOOD
    assert Ids(OTHER).of_cookie(cookie, instance) is IdValidity.GOOD, (
        "the secret was lost: as good as an old one"
    )


@given(st.text(), st.text())
def test_nothing_else_is_an_id(made: str, owner: str) -> None:
    ids = Ids(SECRET)
    assert not ids.made_for(made, owner)
    assert ids.of_cookie(made, ids.instance(owner, 1)) is IdValidity.WRONG
    assert ids.of_cookie(made, made) is IdValidity.WRONG
    assert ids.of_token(made, owner) is IdValidity.WRONG


def test_a_token_ends_with_its_registrant() -> None:
    ids = Ids(SECRET)
    assert ids.token("app", 5, "mike").split(":")[0].endswith(f"-{ids.registrant('mike')}")
    assert len(ids.registrant("mike")) == 12
    assert ids.registrant("mike") != ids.registrant("eve")


def test_the_secret_is_long_enough_and_never_shown() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        Ids(SECRET[:15])
    assert "secret" not in repr(Ids(SECRET)).lower()
