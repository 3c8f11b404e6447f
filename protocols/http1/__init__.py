"""The server's side of an HTTP/1.1 connection, without I/O.

`states` contains the states of a connection as a table, shared by the fast path of the ping, the connections that
aiohttp serves, and RhoConnect Push. The caller owns the socket and the clock.
"""
