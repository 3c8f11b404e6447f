"""Access to Redis or Valkey: connections, addresses, key names, health, durability and the embedded server."""
