"""HTTP/2 without any I/O: a client machine for the providers, a server machine for the simulators.

Both are thin, exact layers over libnghttp2 (through `ngh2`); no module outside this package uses that engine. Bytes
go in, decisions and bytes come out; the caller owns the socket and the clock.
"""
