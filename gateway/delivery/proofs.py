"""Whether a credential's sends to one host and topic were ever accepted, counted over all workers and gateways.

Until then an answer "this token is dead" may as well come of a wrong setting, as BadDeviceToken does where
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
-- KEYS: proof; ARGV: 1 where this answer is BadDeviceToken
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
    """Reads and writes them.

    Args:
        connection: connection to the Redis that holds RhoConnect's users, where the marks are.
    """

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection

    async def accepted(self, identity: str, now_ms: int) -> None:
        """Write that a send was accepted.

        Raises:
            StoreDown: Redis did not answer, or refused.
        """
        await self._connection.eval(ACCEPTED, [keys.credential_proof(identity)], [now_ms])

    async def count(self, identity: str, *, bad: bool) -> int:
        """How many BadDeviceToken answers came before the first acceptance, this one included (`bad`).

        Returns:
            `PROVEN` where a send was accepted.

        Raises:
            StoreDown: Redis did not answer, or refused.
        """
        return int(await self._connection.eval(COUNT, [keys.credential_proof(identity)], [int(bad)]))
