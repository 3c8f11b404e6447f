"""Instance ids, cookies and tokens of the RhoConnect Push service: creation and verification without a store.

All three have one form, `uuid:proof`. The proof is rhoconnect-push's (contract §9): an md5 over the id's owner, the
uuid and a text from its published source. Anyone can compute that proof, so it secures nothing; it exists so that
rhoconnect-push accepts the gateway's ids, and a device survives a switch in both directions.

The security of an id is in its uuid. The gateway's uuids are of version 8 (RFC 9562 §5.8): 6 of their 128 bits are
fixed, and the other 122 hold an HMAC-SHA256 with the secret of this installation. rhoconnect-push's uuids are of
version 4, so the two schemes cannot be confused.

| id | its owner | the 122 bits of a signed uuid |
| --- | --- | --- |
| instance | a user | 64 random bits, 58 bits of the HMAC over them |
| cookie | an instance | 122 bits of the HMAC over the instance |
| token | an app | 40 random bits, 34 bits of the HMAC over the rest and the app, 48 that name the registrant |

A cookie is the only id that is a credential by itself, so all its bits belong to the HMAC; the random part is in its
instance. A forged instance gives no access: its cookie is given only to the user who owns it. A forged token gives
no access either: an app may use it only while it is registered, so all 122 bits of a registered one would have to be
guessed.
"""

import hashlib
import hmac
import re
from enum import Enum
from typing import Final, NamedTuple


class IdKind(NamedTuple):
    """A kind of id.

    Attributes:
        name: part of the HMAC's input.
        fixed_text: rhoconnect-push's text for ids of this kind.
    """

    name: str
    fixed_text: str


INSTANCE: Final = IdKind("instance", "instanceSecret")
COOKIE: Final = IdKind("cookie", "cookieSecret")
TOKEN: Final = IdKind("token", "tokenSecret")

INSTANCE_NONCE_BITS: Final = 64
TOKEN_NONCE_BITS: Final = 40
_FREE_BITS: Final = 122
_INSTANCE_MAC_BITS: Final = _FREE_BITS - INSTANCE_NONCE_BITS
_REGISTRANT_BITS: Final = 48
_TOKEN_MAC_BITS: Final = _FREE_BITS - TOKEN_NONCE_BITS - _REGISTRANT_BITS

_FORM: Final = re.compile(r"[0-9a-fA-F-]{1,64}:[0-9a-f]{32}")
"""Wider than a UUID, since rhoconnect-push accepts any text there; cookies must match `[a-zA-Z0-9|:-]+` (contract
§9)."""
_SIGNED: Final = re.compile(
    r"([0-9a-f]{8})-([0-9a-f]{4})-8([0-9a-f]{3})-([89ab][0-9a-f]{3})-([0-9a-f]{12}):[0-9a-f]{32}"
)


class IdValidity(Enum):
    """Result of the verification of an id.

    Attributes:
        GOOD: it is accepted.
        FORGEABLE: it satisfies rhoconnect-push's scheme, but anyone can make it, and such ids are not accepted: a
            token while `weak` is off, or a cookie without a signature that came with a signed instance.
        OUTDATED: instance and cookie are both of rhoconnect-push's scheme, and `weak` is off.
        UNKNOWN: it has the gateway's form, but was not made with the secret: the secret was lost or changed.
        WRONG: it has another form, or was made for another owner.
    """

    GOOD = "good"
    FORGEABLE = "forgeable"
    OUTDATED = "outdated"
    UNKNOWN = "unknown"
    WRONG = "wrong"


class Ids:
    """Makes and verifies ids.

    Args:
        secret: of this installation; the same in all its processes, at least 16 bytes.
        weak: whether rhoconnect-push's own ids are accepted.
    """

    def __init__(self, secret: bytes, *, weak: bool = True) -> None:
        if len(secret) < 16:
            raise ValueError("the secret must have 16 bytes or more")
        self._secret = secret
        self._weak = weak

    def __repr__(self) -> str:
        return f"Ids(weak={self._weak})"

    def instance(self, user: str, nonce: int) -> str:
        """Make an instance of a user.

        Args:
            user: the user who gets a cookie of the instance.
            nonce: `INSTANCE_NONCE_BITS` fresh random bits.
        """
        uuid = _uuid(
            nonce << _INSTANCE_MAC_BITS | self._mac(INSTANCE.name, str(nonce), bits=_INSTANCE_MAC_BITS)
        )
        return rhoconnect_push_id(INSTANCE, user, uuid)

    def cookie(self, instance: str) -> str:
        """The signed cookie of an instance."""
        return rhoconnect_push_id(COOKIE, instance, _uuid(self._mac(COOKIE.name, instance, bits=_FREE_BITS)))

    def token(self, app: str, nonce: int, user: str) -> str:
        """Make a token. Its uuid ends with `registrant(user)`.

        Args:
            app: the app that receives its messages.
            nonce: `TOKEN_NONCE_BITS` fresh random bits.
            user: the registering user.
        """
        registrant = int(self.registrant(user), 16)
        mac = self._token_mac(nonce, registrant, app)
        value = (nonce << _TOKEN_MAC_BITS | mac) << _REGISTRANT_BITS | registrant
        return rhoconnect_push_id(TOKEN, app, _uuid(value))

    def registrant(self, user: str) -> str:
        """A user's name in the form that tokens contain: 12 hex digits that reveal no name without the secret."""
        return f"{self._mac('registrant', user, bits=_REGISTRANT_BITS):012x}"

    def made_for(self, instance: str, user: str) -> bool:
        """Whether an instance was made for this user, by either scheme.

        An instance of rhoconnect-push's scheme counts whether or not such ids are accepted: it only names the user,
        who has been authenticated by other means before anything is returned for it.
        """
        if not _has_proof(INSTANCE, instance, user):
            return False
        signed = _signed_value(instance)
        return signed is None or self._is_own(signed)

    def of_cookie(self, cookie: str, instance: str) -> IdValidity:
        """Verify a device's instance and cookie together."""
        if _FORM.fullmatch(instance) is None or _FORM.fullmatch(cookie) is None:
            return IdValidity.WRONG
        if cookie[14:15] == "8" and hmac.compare_digest(cookie, self.cookie(instance)):
            return IdValidity.GOOD
        signed = _signed_value(instance)
        if signed is not None and not self._is_own(signed):
            return IdValidity.UNKNOWN
        if not _has_proof(COOKIE, cookie, instance):
            return IdValidity.WRONG
        if signed is not None:
            return IdValidity.FORGEABLE
        return IdValidity.GOOD if self._weak else IdValidity.OUTDATED

    def of_token(self, token: str, app: str) -> IdValidity:
        """Verify a token for this app."""
        if not _has_proof(TOKEN, token, app):
            return IdValidity.WRONG
        signed = _signed_value(token)
        if signed is None:
            return IdValidity.GOOD if self._weak else IdValidity.FORGEABLE
        rest, registrant = divmod(signed, 1 << _REGISTRANT_BITS)
        nonce, mac = divmod(rest, 1 << _TOKEN_MAC_BITS)
        return IdValidity.GOOD if mac == self._token_mac(nonce, registrant, app) else IdValidity.UNKNOWN

    def _is_own(self, instance: int) -> bool:
        """Whether the uuid of this instance was made with the secret, for any user."""
        nonce, mac = divmod(instance, 1 << _INSTANCE_MAC_BITS)
        return mac == self._mac(INSTANCE.name, str(nonce), bits=_INSTANCE_MAC_BITS)

    def _token_mac(self, nonce: int, registrant: int, app: str) -> int:
        return self._mac(TOKEN.name, str(nonce), str(registrant), app, bits=_TOKEN_MAC_BITS)

    def _mac(self, *parts: str, bits: int) -> int:
        # Only the last part may contain NUL, so that two lists of parts never make one text.
        digest = hmac.digest(self._secret, "\0".join(parts).encode("utf-8", "surrogatepass"), "sha256")
        return int.from_bytes(digest[:16]) >> 128 - bits


def _uuid(value: int) -> str:
    """Make a UUID of version 8 that holds 122 bits."""
    number = value >> 74 << 80 | 8 << 76 | (value >> 62 & 0xFFF) << 64 | 2 << 62 | value & (1 << 62) - 1
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _signed_value(made: str) -> int | None:
    """The 122 bits of an id of the gateway's form; None: it has another form."""
    found = _SIGNED.fullmatch(made)
    if found is None:
        return None
    first, second, third, fourth, last = (int(part, 16) for part in found.groups())
    high = (first << 16 | second) << 12 | third
    return (high << 14 | fourth & 0x3FFF) << 48 | last


def rhoconnect_push_id(kind: IdKind, owner: str, uuid: str) -> str:
    """An id of rhoconnect-push's scheme (contract §9), which anyone can make from its source."""
    text = f"{owner}{uuid}{kind.fixed_text}".encode("utf-8", "surrogatepass")
    return f"{uuid}:{hashlib.md5(text, usedforsecurity=False).hexdigest()}"


def _has_proof(kind: IdKind, made: str, owner: str) -> bool:
    """Whether rhoconnect-push accepts this id for this owner."""
    if _FORM.fullmatch(made) is None:
        return False
    return hmac.compare_digest(made, rhoconnect_push_id(kind, owner, made.partition(":")[0]))
