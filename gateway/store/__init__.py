"""All that the gateway keeps: the queue, the registry, receipts, and the Redis or Valkey under them."""
