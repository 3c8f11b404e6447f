"""Instance ids, cookies and tokens of the RhoConnect Push Service: made and recognised without a store.

All three have one form, `uuid:proof`, where the proof is a digest over what the id is for and the uuid. Two
schemes stand side by side:

| scheme | proof | who can make one |
| --- | --- | --- |
| rhoconnect-push's (contract §9) | md5 with a fixed text, 32 hex digits | anybody who has read its source |
| this installation's | HMAC-SHA256 with a secret, its first 40 hex digits | only who has the secret |

The lengths tell them apart, so that no weak proof is ever taken for a strong id: an id of this installation
needs a cookie of this installation. An id of the old scheme is only as good as the registration that stands
behind it in the store; the caller must look (`Ids.is_weak`).
"""

import hashlib
import hmac
import re
from typing import Final, NamedTuple


class Kind(NamedTuple):
    """What an id is.

    Attributes:
        name: part of what the proof is made of.
        fixed_text: rhoconnect-push's for ids of this kind.
    """

    name: str
    fixed_text: str


INSTANCE: Final = Kind("instance", "instanceSecret")
COOKIE: Final = Kind("cookie", "cookieSecret")
TOKEN: Final = Kind("token", "tokenSecret")

_WEAK_DIGITS: Final = 32
_DIGITS: Final = 40
"""160 bits. Any length but md5's would do; cookies must match `[a-zA-Z0-9|:-]+` (contract §9)."""
_FORM: Final = re.compile(r"[0-9a-fA-F-]{1,64}:[0-9a-f]{32,40}")


class Ids:
    """Makes ids and recognises them.

    Args:
        secret: of this installation; the same in all its processes, at least 16 bytes.
        weak: whether rhoconnect-push's own ids are recognised.
    """

    def __init__(self, secret: bytes, *, weak: bool = True) -> None:
        if len(secret) < 16:
            raise ValueError("the secret is shorter than 16 bytes")
        self._secret = secret
        self._weak = weak

    def __repr__(self) -> str:
        return f"Ids(weak={self._weak})"

    def make(self, kind: Kind, owner: str, uuid: str) -> str:
        """A new id.

        Args:
            kind: `INSTANCE`, `COOKIE` or `TOKEN`.
            owner: what it is for: the user of an instance, the instance of a cookie, the app of a token.
            uuid: a fresh random UUID.
        """
        return f"{uuid}:{self._proof(kind, owner, uuid)}"

    def token(self, app: str, uuid: str, user: str) -> str:
        """A new token, which says who registered the app: its uuid is of version 8 (RFC 9562 §5.8) and ends with
        `registrant(user)`.

        Args:
            app: whose messages it takes.
            uuid: a fresh random UUID in its usual form.
            user: who registers.
        """
        return self.make(TOKEN, app, f"{uuid[:14]}8{uuid[15:24]}{self.registrant(user)}")

    def registrant(self, user: str) -> str:
        """A user's name as tokens hold it: 12 hex digits that nobody without the secret can tell a name by."""
        text = "registrant\0" + user
        return hmac.digest(self._secret, text.encode("utf-8", "surrogatepass"), "sha256").hex()[:12]

    def belongs(self, kind: Kind, made: str, owner: str) -> bool:
        """Whether an id was made for this owner, by a scheme that may be used for it."""
        if _FORM.fullmatch(made) is None:
            return False
        uuid, _, proof = made.partition(":")
        if len(proof) == _DIGITS:
            return hmac.compare_digest(proof, self._proof(kind, owner, uuid))
        if len(proof) != _WEAK_DIGITS or not self._weak:
            return False
        if kind is COOKIE and not self.is_weak(owner):
            return False
        return hmac.compare_digest(proof, _weak_proof(kind, owner, uuid))

    def is_weak(self, made: str) -> bool:
        """Whether an id has the form of rhoconnect-push's: then it counts only while it is registered."""
        return len(made.partition(":")[2]) == _WEAK_DIGITS

    def _proof(self, kind: Kind, owner: str, uuid: str) -> str:
        # No part holds NUL at the joints: kinds are ours, and a uuid has passed `_FORM` or is fresh.
        text = "\0".join((kind.name, uuid, owner)).encode("utf-8", "surrogatepass")
        return hmac.digest(self._secret, text, "sha256").hex()[:_DIGITS]


def _weak_proof(kind: Kind, owner: str, uuid: str) -> str:
    """rhoconnect-push's proof (contract §9). Nothing is secured by it."""
    text = f"{owner}{uuid}{kind.fixed_text}".encode("utf-8", "surrogatepass")
    return hashlib.md5(text, usedforsecurity=False).hexdigest()


def rhoconnect_push_id(kind: Kind, owner: str, uuid: str) -> str:
    """An id of rhoconnect-push's scheme, as anybody who has read its source can make it."""
    return f"{uuid}:{_weak_proof(kind, owner, uuid)}"
