"""Fan-out from pings to deliveries: consumes the streams, selects devices, splits broadcasts and settles batches."""
