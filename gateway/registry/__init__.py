"""Users and devices in RhoConnect's key layout: lookups, cache, snapshots, change log, accounts."""
