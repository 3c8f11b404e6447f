"""The server's side of an HTTP/1.1 connection, without any I/O.

`states` holds the states of a connection as a table; `request` reads one request from bytes. The fast path of the ping,
the connections that aiohttp serves and RhoConnect Push share the table; the caller owns the socket and the clock.
"""
