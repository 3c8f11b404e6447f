"""Connections to the providers: a pool for each credential, HTTP/2 over TLS, independent of the content of requests.

`pool.ConnectionPool` takes requests from a `feed.RequestFeed` (a delivery lane) as streams become free, and returns
every outcome to it.
"""
