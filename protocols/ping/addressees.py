"""The parameter `to` of a ping: the recipients in addition to the users of `user_id`, and the exceptions."""

import hashlib
from collections.abc import Collection
from typing import Final

import msgspec

DIGEST_PREFIX: Final = "token:"
"""Beginning of the ids under which receipts and logs name raw tokens. No client id of RhoConnect contains a colon."""
_DIGEST_BYTES: Final = 16


class RawToken(msgspec.Struct, frozen=True, array_like=True):
    """A push token that the caller sends with the ping; it need not be in the registry.

    Attributes:
        provider: the provider that issued it.
        token: the push token.
        app: the app whose settings apply; "": the settings that apply to all apps.
    """

    provider: str
    token: str
    app: str = ""

    @property
    def client_id(self) -> str:
        """The id of the token in receipts and logs: a digest, from which the token cannot be derived."""
        text = "\0".join((self.provider, self.app, self.token)).encode("utf-8", "surrogatepass")
        return DIGEST_PREFIX + hashlib.blake2b(text, digest_size=_DIGEST_BYTES).hexdigest()

    def __repr__(self) -> str:
        """A text without the token."""
        return f"RawToken({self.provider!r}, {self.client_id!r}, {self.app!r})"


class Addressees(msgspec.Struct, frozen=True, array_like=True):
    """The recipients of a ping besides the users of `user_id`. Stored with the ping, so fields are only ever appended.

    Attributes:
        all_users: every user of RhoConnect.
        devices: client ids.
        tokens: push tokens that no registry has.
        apps: only devices of these apps; empty: of any app.
        providers: only devices of these providers; empty: of any provider.
        except_users: logins that the ping does not reach.
    """

    all_users: bool = False
    devices: tuple[str, ...] = ()
    tokens: tuple[RawToken, ...] = ()
    apps: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    except_users: tuple[str, ...] = ()

    @property
    def listed(self) -> int:
        """Number of devices and tokens."""
        return len(self.devices) + len(self.tokens)

    def of_clients(self, clients: Collection[str]) -> "Addressees | None":
        """The part that deliveries to these clients need: their raw tokens; None: they need no part."""
        if not self.tokens:
            return None
        needed = frozenset(clients)
        tokens = tuple(token for token in self.tokens if token.client_id in needed)
        return Addressees(tokens=tokens) if tokens else None
