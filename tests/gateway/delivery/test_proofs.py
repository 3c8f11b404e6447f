"""Whether a credential was ever accepted, counted over all workers."""

import pytest
from redis.asyncio import Redis

from gateway.delivery.proofs import PROVEN, Proofs
from gateway.errors import StoreDown
from gateway.store import keys
from gateway.store.connection import RedisConnection
from tests.gateway.conftest import MakeLink


async def test_bad_answers_are_counted_by_all_workers_until_a_delivery_is_accepted(
    make_link: MakeLink, redis_client: Redis
) -> None:
    one, other = Proofs(await make_link("one")), Proofs(await make_link("other"))
    assert await one.count("id", bad=False) == 0
    assert [await proofs.count("id", bad=True) for proofs in (one, other, one)] == [1, 2, 3]
    assert await other.count("id", bad=False) == 3
    await other.accepted("id", 1_795_600_000_000)
    assert await one.count("id", bad=True) == PROVEN
    assert await redis_client.hgetall(keys.credential_proof("id")) == {b"accepted": b"1795600000000"}
    assert await one.count("another", bad=False) == 0


async def test_the_record_of_a_credential_expires(connection: RedisConnection, redis_client: Redis) -> None:
    proofs = Proofs(connection)
    await proofs.count("refused", bad=True)
    await proofs.accepted("accepted", 1)
    for identity in ("refused", "accepted"):
        assert 0 < await redis_client.ttl(keys.credential_proof(identity)) <= keys.PROOF_S


async def test_a_key_of_another_type_is_reported(connection: RedisConnection, redis_client: Redis) -> None:
    await redis_client.set(keys.credential_proof("id"), "text")
    with pytest.raises(StoreDown, match="WRONGTYPE"):
        await Proofs(connection).count("id", bad=True)
