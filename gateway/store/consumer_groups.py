"""Consumer groups of Redis Streams."""

from gateway.store.connection import RedisConnection, RedisReplyError


async def ensure_group(connection: RedisConnection, stream: str, group: str) -> bool:
    """Create a consumer group that reads a stream from its beginning, and the stream, where they do not exist.

    Returns:
        Whether the group was missing.

    Raises:
        StoreDown: Redis did not answer, or refused; `of_data` where the key is no stream.
    """
    try:
        await connection.call("XGROUP", "CREATE", stream, group, "0", "MKSTREAM")
    except RedisReplyError as error:
        if not error.words.startswith("BUSYGROUP"):  # the group exists
            raise
        return False
    return True
