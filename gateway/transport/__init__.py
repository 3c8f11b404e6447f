"""Connections to the providers: a pool for each credential, HTTP/2 over TLS, and nothing about pushes.

`pool.Pool` draws requests from a `feed.Feed` (a delivery lane) as streams come free and gives every outcome
back to it.
"""
