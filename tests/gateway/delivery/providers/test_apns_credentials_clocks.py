"""Provider tokens of APNs by clocks that are wrong."""

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.clock import ProviderClock, SharedClock
from gateway.delivery.providers.apns_credentials import ApnsKey
from protocols.apns.credentials import BUCKET_S, ProviderKey

PRIVATE = ec.generate_private_key(ec.SECP256R1())
START_S = 1_800_000_000 // BUCKET_S * BUCKET_S


class Wall:
    """A shared and a local clock, as a test sets them."""

    def __init__(self) -> None:
        self.steady_s = 1_000.0
        self.local_ahead_s = self.redis_ahead_s = 0.0
        self.shared = SharedClock(lambda: int(self.steady_s * 1e9), lambda: int(self.local_s() * 1e9))
        self.read()

    def local_s(self) -> float:
        return START_S + self.steady_s + self.local_ahead_s

    def read(self) -> None:
        redis_s = START_S + self.steady_s + self.redis_ahead_s
        self.shared.record_reading(self.shared.steady_ms(), int(redis_s * 1000))


def apns_key(wall: Wall) -> ApnsKey:
    pem = PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    key = ProviderKey(pem, "ABC123DEFG", "DEF123GHIJ")
    return ApnsKey(key, ProviderClock("apns", wall.shared, wall.local_s))


def issued_s(key: ApnsKey) -> int:
    ((_, value),) = key.authorization()
    claims = jwt.decode(value.removeprefix(b"bearer "), options={"verify_signature": False})
    return int(claims["iat"])


@pytest.mark.parametrize("jump_s", [-86_400, -3_600, 3_600, 86_400])
def test_a_refused_token_is_made_by_the_clock_that_is_right(jump_s: int) -> None:
    wall = Wall()
    wall.redis_ahead_s = jump_s
    wall.read()
    key = apns_key(wall)
    refused = key.authorization()
    assert key.refresh()
    renewed = key.authorization()
    assert renewed != refused
    assert 60 <= wall.local_s() - issued_s(key) < BUCKET_S + 60
    assert key.refresh()  # what was sent with the old one comes back, too
    assert key.authorization() == renewed


def test_a_key_that_is_refused_for_itself_is_not_tried_again() -> None:
    key = apns_key(Wall())
    key.authorization()
    assert not key.refresh()
    assert not key.corrected()


def test_a_token_that_is_too_old_for_a_provider_whose_clock_is_ahead_is_made_anew() -> None:
    wall = Wall()
    key = apns_key(wall)
    first_s = issued_s(key)
    wall.steady_s += BUCKET_S - 1_000 - 60 - 1
    assert issued_s(key) == first_s
    assert key.refresh()
    second_s = issued_s(key)
    assert second_s - first_s >= 1_200
    assert wall.local_s() - second_s < 120
    wall.steady_s += BUCKET_S
    assert issued_s(key) == second_s + BUCKET_S


@pytest.mark.parametrize("jump_s", [-86_400, -3_600, 3_600, 86_400])
def test_a_clock_that_is_corrected_ends_the_wait_of_a_refused_token(jump_s: int) -> None:
    wall = Wall()
    wall.local_ahead_s = wall.redis_ahead_s = jump_s
    wall.read()
    key = apns_key(wall)
    key.authorization()
    key.refresh()
    assert not key.corrected()
    wall.local_ahead_s = wall.redis_ahead_s = 0.0
    wall.read()
    assert key.corrected()
    assert 60 <= wall.local_s() - issued_s(key) < BUCKET_S + 60
