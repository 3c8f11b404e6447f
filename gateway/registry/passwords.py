"""Password hashes: RhoConnect's salted SHA-1, and scrypt if no RhoConnect must read them."""

import hashlib
import hmac
import secrets
import string
from typing import Final, NamedTuple

_ALPHABET: Final = string.ascii_letters + string.digits
_SALT_CHARACTERS: Final = 10  # contract §7
_SCRYPT: Final = "scrypt$"
# OWASP's password storage cheat sheet: N = 2^15, r = 8, p = 3 is one of its equal choices; 32 MiB and about
# 0.2 s.
_N, _R, _P = 2**15, 8, 3
_MAXMEM: Final = 64 * 1024 * 1024


class PasswordHash(NamedTuple):
    """The two fields of a user: `salt` and `hashed_password`."""

    salt: str
    hashed: str

    @property
    def weak(self) -> bool:
        """Whether this is RhoConnect's own hash."""
        return not self.hashed.startswith(_SCRYPT)

    def __repr__(self) -> str:
        return "PasswordHash(***)"


UNUSABLE_HASH: Final = PasswordHash("", "")
"""Hash of an account that does not exist, or has no password: no password matches it."""
_NOTHING: Final = "-" * 40


def hash_for_rhoconnect(password: str) -> PasswordHash:
    """Hash as RhoConnect does: the SHA-1, in hex, of password and salt (contract §7)."""
    salt = "".join(secrets.choice(_ALPHABET) for _ in range(_SALT_CHARACTERS))
    return PasswordHash(salt, _sha1(password, salt))


def hash_strong(password: str) -> PasswordHash:
    """Hash with scrypt (RFC 7914). Takes about 0.2 s, so it must not run on the event loop."""
    salt = secrets.token_hex(16)
    return PasswordHash(salt, _SCRYPT + _scrypt(password, salt))


def matches(password: str, stored: PasswordHash, *, strong: bool = False) -> bool:
    """Whether the password matches. Never true for an empty one: RhoConnect's default must not give access.

    A wrong password, a missing account and `UNUSABLE_HASH` take the same time, so that the time reveals nothing
    about an account.

    Args:
        password: the given password.
        stored: the account's hash, or `UNUSABLE_HASH`.
        strong: take as long as for a scrypt hash, even if this hash is RhoConnect's.
    """
    hashed = _SCRYPT + _scrypt(password, stored.salt) if strong or not stored.weak else ""
    if stored.weak:
        hashed = _sha1(password, stored.salt)
    same = hmac.compare_digest(hashed.encode(), (stored.hashed or _NOTHING).encode())
    return same and bool(password and stored.hashed)


def _sha1(password: str, salt: str) -> str:
    text = (password + salt).encode("utf-8", "surrogatepass")
    return hashlib.sha1(text, usedforsecurity=False).hexdigest()


def _scrypt(password: str, salt: str) -> str:
    secret = password.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(secret, salt=salt.encode(), n=_N, r=_R, p=_P, maxmem=_MAXMEM).hex()
