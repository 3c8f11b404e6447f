"""Ids of both schemes: made, recognised, and never taken for each other."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.rps.ids import COOKIE, INSTANCE, TOKEN, Ids, Kind

SECRET = b"a secret of 16 B"
UUID = "0e5f2b1a-1d52-4c7c-9b7e-2d1f6a3c9e01"
KINDS = pytest.mark.parametrize("kind", [INSTANCE, COOKIE, TOKEN], ids=lambda kind: kind.name)


def old(kind: Kind, owner: str, uuid: str = UUID) -> str:
    """As the contract's §9 says: md5 over owner, uuid and the fixed text."""
    return f"{uuid}:{hashlib.md5(f'{owner}{uuid}{kind.name}Secret'.encode()).hexdigest()}"


@KINDS
def test_what_is_made_belongs_to_its_owner_alone(kind: Kind) -> None:
    ids = Ids(SECRET)
    made = ids.make(kind, "mike", UUID)
    assert made.startswith(f"{UUID}:")
    assert len(made) == len(UUID) + 41
    assert ids.belongs(kind, made, "mike")
    assert not ids.belongs(kind, made, "mik")
    assert not ids.belongs(kind, made[:-1] + ("0" if made[-1] != "0" else "1"), "mike")
    assert not ids.belongs(kind, made.replace("0e5f", "0e5e"), "mike")
    assert not ids.is_weak(made)


def test_one_kind_is_no_other() -> None:
    ids = Ids(SECRET)
    made = ids.make(INSTANCE, "mike", UUID)
    assert not ids.belongs(TOKEN, made, "mike")
    assert not ids.belongs(INSTANCE, ids.make(TOKEN, "mike", UUID), "mike")


@KINDS
def test_another_installations_ids_are_none_here(kind: Kind) -> None:
    made = Ids(b"another secret, as long").make(kind, "mike", UUID)
    assert not Ids(SECRET).belongs(kind, made, "mike")


@pytest.mark.parametrize("kind", [INSTANCE, TOKEN], ids=lambda kind: kind.name)
def test_rhoconnect_pushs_ids_are_recognised_until_that_is_ended(kind: Kind) -> None:
    made = old(kind, "mike")
    assert Ids(SECRET).belongs(kind, made, "mike")
    assert Ids(SECRET).is_weak(made)
    assert not Ids(SECRET).belongs(kind, made, "other")
    assert not Ids(SECRET, weak=False).belongs(kind, made, "mike")


def test_an_old_cookie_is_good_for_an_old_instance_only() -> None:
    ids = Ids(SECRET)
    weak, strong = old(INSTANCE, "mike"), ids.make(INSTANCE, "mike", UUID)
    assert ids.belongs(COOKIE, old(COOKIE, weak), weak)
    assert not ids.belongs(COOKIE, old(COOKIE, strong), strong)
    assert ids.belongs(COOKIE, ids.make(COOKIE, weak, UUID), weak)
    assert not Ids(SECRET, weak=False).belongs(COOKIE, old(COOKIE, weak), weak)


@given(st.text(), st.text())
def test_nothing_else_is_an_id(made: str, owner: str) -> None:
    assert not any(Ids(SECRET).belongs(kind, made, owner) for kind in (INSTANCE, COOKIE, TOKEN))


@given(st.text())
def test_any_owner_has_ids(owner: str) -> None:
    ids = Ids(SECRET)
    assert ids.belongs(TOKEN, ids.make(TOKEN, owner, UUID), owner)


def test_the_secret_is_long_enough_and_never_shown() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        Ids(SECRET[:15])
    assert "secret" not in repr(Ids(SECRET)).lower()
