"""Proof that a delivery of a credential to one host and topic was accepted, counted over all workers and gateways.

Before that proof, a response "this token is dead" may result from a wrong setting, as APNs' BadDeviceToken does if
`apns.environment` names the other host.
"""

from typing import Final

from gateway.store import keys
from gateway.store.connection import RedisConnection, Script
from gateway.store.lua import CHECKS

PROVEN: Final = -1

COUNT: Final = Script(
    CHECKS
    + f"""
-- KEYS: proof; ARGV: 1 if this response concerns one host alone
if redis.call('HEXISTS', KEYS[1], 'accepted') == 1 then return -1 end
if ARGV[1] ~= '1' then return stored(redis.call('HGET', KEYS[1], 'bad')) end
local count = add(KEYS[1], 'bad', 1)
redis.call('EXPIRE', KEYS[1], {keys.PROOF_S})
return count
"""
)

ACCEPTED: Final = Script(
    f"""
-- KEYS: proof; ARGV: epoch ms
redis.call('HSET', KEYS[1], 'accepted', ARGV[1])
redis.call('HDEL', KEYS[1], 'bad')
redis.call('EXPIRE', KEYS[1], {keys.PROOF_S})
return 1
"""
)


class Proofs:
    """Reads and writes proofs.

    Args:
        connection: connection to the Redis that holds RhoConnect's users and the marks.
    """

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection

    async def accepted(self, identity: str, now_ms: int) -> None:
        """Record that a delivery was accepted.

        Raises:
            StoreDown: Redis did not answer, or refused.
        """
        await self._connection.eval(ACCEPTED, [keys.credential_proof(identity)], [now_ms])

    async def count(self, identity: str, *, bad: bool) -> int:
        """Number of responses that concern one host alone (APNs' BadDeviceToken) before the first acceptance.

        Returns:
            `PROVEN` if a delivery was accepted.

        Raises:
            StoreDown: Redis did not answer, or refused.
        """
        return int(await self._connection.eval(COUNT, [keys.credential_proof(identity)], [int(bad)]))
