"""Passwords as RhoConnect keeps them and as we do."""

import hashlib

import pytest

from gateway.registry.passwords import Kept, keep_for_rhoconnect, keep_strong, matches


def test_rhoconnects_hash() -> None:
    kept = keep_for_rhoconnect("secret")
    assert len(kept.salt) == 10
    assert kept.salt.isalnum()
    assert kept.hashed == hashlib.sha1(f"secret{kept.salt}".encode()).hexdigest()
    assert kept.weak
    assert keep_for_rhoconnect("secret").salt != kept.salt


@pytest.mark.parametrize("keep", [keep_for_rhoconnect, keep_strong])
def test_only_the_password_matches(keep: type[Kept]) -> None:
    kept = keep("grüße")
    assert matches("grüße", kept)
    assert not matches("grüsse", kept)
    assert not matches("", kept)
    assert "gr" not in repr(kept)
    assert kept.hashed not in repr(kept)


def test_the_strong_one_is_no_sha1() -> None:
    kept = keep_strong("secret")
    assert not kept.weak
    assert kept.hashed.startswith("scrypt$")


def test_an_empty_password_opens_nothing() -> None:
    assert not matches("", keep_for_rhoconnect(""))
    assert not matches("", Kept("", ""))
    assert not matches("x", Kept("", ""))
