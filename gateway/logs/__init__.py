"""Logging to stderr: JSON lines, or readable lines on a terminal, without secrets.

`structured` configures structlog for a worker or a command. `plain` writes the same lines without structlog, whose
import needs more memory than the rest of the supervisor. Both use `redaction`, and both write through the queue of
`writer`, so that a reader that stops reading does not block the process.
"""
