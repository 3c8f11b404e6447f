"""Passwords as RhoConnect keeps them and as we do."""

import hashlib

import pytest

from gateway.registry.passwords import PasswordHash, hash_for_rhoconnect, hash_strong, matches


def test_rhoconnects_hash() -> None:
    kept = hash_for_rhoconnect("secret")
    assert len(kept.salt) == 10
    assert kept.salt.isalnum()
    assert kept.hashed == hashlib.sha1(f"secret{kept.salt}".encode()).hexdigest()
    assert kept.weak
    assert hash_for_rhoconnect("secret").salt != kept.salt


@pytest.mark.parametrize("keep", [hash_for_rhoconnect, hash_strong])
def test_only_the_password_matches(keep: type[PasswordHash]) -> None:
    kept = keep("grüße")
    assert matches("grüße", kept)
    assert not matches("grüsse", kept)
    assert not matches("", kept)
    assert "gr" not in repr(kept)
    assert kept.hashed not in repr(kept)


def test_the_strong_hash_is_not_sha1() -> None:
    kept = hash_strong("secret")
    assert not kept.weak
    assert kept.hashed.startswith("scrypt$")


def test_an_empty_password_never_matches() -> None:
    assert not matches("", hash_for_rhoconnect(""))
    assert not matches("", PasswordHash("", ""))
    assert not matches("x", PasswordHash("", ""))
