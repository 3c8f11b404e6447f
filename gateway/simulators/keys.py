"""Keys that a simulated provider accepts, generated at run time, so that no repository contains one."""

import itertools
import secrets
from dataclasses import dataclass, field
from functools import cache
from typing import Final

import orjson
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from protocols.apns.simulator import SigningKey
from protocols.fcm.simulator import Account

_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
_RSA_KEYS: Final = 4
"""RSA keys of a process. Making one takes a tenth of a second, so the accounts use them in turn."""
_accounts: Final = itertools.count()


@dataclass(frozen=True, slots=True)
class TeamKey:
    """An APNs provider token signing key, with both halves.

    Attributes:
        key_id: ten characters.
        team_id: ten characters.
        pem: the private key as Apple provides it, PKCS#8 in PEM: the content of an `AuthKey_….p8`.
        signing: the public half, for the simulator.
    """

    key_id: str
    team_id: str
    pem: bytes = field(repr=False)
    signing: SigningKey = field(repr=False)


@dataclass(frozen=True, slots=True)
class ServiceAccountKey:
    """A Google service account, with both halves.

    Attributes:
        info: the key file's content as Google provides it; `private_key` is in it.
        account: the public half, for the simulator.
    """

    info: dict[str, str] = field(repr=False)
    account: Account

    @property
    def json(self) -> bytes:
        """The content of the key file."""
        return orjson.dumps(self.info)


def ten_characters() -> str:
    """A random identifier of the form of Apple's key and team ids."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(10))


def make_team_key(
    team_id: str | None = None, *, topics: frozenset[str] | None = None, environment: str | None = None
) -> TeamKey:
    """Make a signing key.

    Args:
        team_id: ten characters; None: a new team.
        topics: topics to which a topic-specific key may push.
        environment: for a key limited to one environment, "production" or "sandbox".
    """
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    signing = SigningKey(
        ten_characters(), team_id or ten_characters(), private.public_key(), topics, environment
    )
    return TeamKey(signing.key_id, signing.team_id, pem, signing)


def make_service_account(project_id: str, token_uri: str) -> ServiceAccountKey:
    """Make a service account of a project, whose tokens are fetched from `token_uri`."""
    private = _rsa_key(next(_accounts) % _RSA_KEYS)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    email = f"push@{project_id}.iam.gserviceaccount.com"
    account = Account(email, secrets.token_hex(20), private.public_key(), project_id)
    info = {
        "type": "service_account",
        "project_id": project_id,
        "private_key_id": account.key_id,
        "private_key": pem.decode(),
        "client_email": email,
        "client_id": "1" + "".join(secrets.choice("0123456789") for _ in range(20)),
        "token_uri": token_uri,
    }
    return ServiceAccountKey(info, account)


@cache
def _rsa_key(_: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)
