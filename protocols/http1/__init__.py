"""The server's side of an HTTP/1.1 connection, without I/O. The caller owns the socket and the clock.

`states` contains the states of a connection as a table, shared by the fast path of the ping, the connections that
aiohttp serves, and RhoConnect Push. `request_head` parses the heads that the fast path serves, `request_parser` the
requests of RhoConnect Push; `content_encoding` decodes bodies, and `response` encodes responses.
"""
