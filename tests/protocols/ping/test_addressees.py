"""Audiences: raw tokens are named by a digest, and keep what retries need."""

import msgspec

from protocols.ping.addressees import DIGEST_PREFIX, Addressees, RawToken
from protocols.ping.model import Ping

APPLE = RawToken("apns", "ab" * 32, "com.example.app")
GOOGLE = RawToken("fcm", "registration-1")


def test_the_id_of_a_token_depends_on_all_of_it_and_shows_none_of_it() -> None:
    others = (RawToken("fcm", APPLE.token, APPLE.app), RawToken("apns", APPLE.token), RawToken("apns", "cd"))
    ids = {one.client_id for one in (APPLE, GOOGLE, *others)}
    assert len(ids) == 5
    assert RawToken("apns", "ab" * 32, "com.example.app").client_id == APPLE.client_id
    assert all(one.startswith(DIGEST_PREFIX) and len(one) == len(DIGEST_PREFIX) + 32 for one in ids)
    assert "abab" not in APPLE.client_id
    assert "registration-1" not in repr(Ping(to=Addressees(tokens=(GOOGLE,))))


def test_a_retry_keeps_the_tokens_of_its_clients_alone() -> None:
    addressees = Addressees(devices=("c1",), tokens=(APPLE, GOOGLE), apps=("a",), except_users=("bob",))
    assert addressees.listed == 3
    assert addressees.of_clients(["c1", GOOGLE.client_id]) == Addressees(tokens=(GOOGLE,))
    assert addressees.of_clients(["c1"]) is None
    assert Addressees(all_users=True).of_clients(["c1"]) is None


def test_an_earlier_version_reads_a_ping_without_an_audience_and_its_pings_are_read() -> None:
    """Both ways: fields are only appended, and a missing one has its default."""
    packed = msgspec.msgpack.encode(Ping(id="1", users=("bob",), message="hello"))
    fields = msgspec.msgpack.decode(packed)
    assert fields[16:] == [None, 0, None, None, None]
    earlier = msgspec.defstruct(
        "Earlier", [(name, object, None) for name in Ping.__struct_fields__[:16]], array_like=True
    )
    assert msgspec.msgpack.decode(packed, type=earlier).message == "hello"
    before = msgspec.msgpack.encode(fields[:16])
    assert msgspec.msgpack.decode(before, type=Ping) == Ping(id="1", users=("bob",), message="hello")


def test_an_audience_survives_the_queue() -> None:
    ping = Ping(to=Addressees(tokens=(APPLE, GOOGLE), providers=("fcm",)), badge=1, badge_increment=1)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(ping), type=Ping) == ping
