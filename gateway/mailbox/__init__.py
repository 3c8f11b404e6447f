"""RhoConnect Push registrations and waiting messages, in Redis."""
