"""The durable queue of pings on Redis Streams: producer, consumer, receipts, completion."""
