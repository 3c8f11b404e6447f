"""The gateway's branch of the error tree: what it cannot do now, and what an operator must mend.

The root, and the errors about inputs, are in `protocols.errors`. Foreign exceptions (redis, aiohttp, ssl, OS) are
turned into these where they enter, with the cause kept.
"""

from typing import Final

from protocols.errors import InputError, RhoPushError

__all__ = [
    "BAD_DATA",
    "AuthenticationBusy",
    "BadProvider",
    "BadSetting",
    "BodiesFull",
    "ChannelBroken",
    "CredentialError",
    "IdempotencyConflict",
    "InputError",
    "MetricsUnavailable",
    "PossiblyAccepted",
    "ProviderUnreachable",
    "QueueFull",
    "RhoPushError",
    "StoreBusy",
    "StoreDown",
    "StoreRefused",
    "TooManyRequests",
    "UnreadableEntry",
    "UnsupportedCoding",
]


class BadSetting(RhoPushError):
    """A setting is unknown or wrong. The command ends with one line and exit status 2."""

    code = "bad_setting"
    label = "bad_setting"


class BadProvider(BadSetting):
    """An installed provider cannot be used. As with a wrong setting, a new start does not help."""

    code = "bad_provider"
    label = "bad_provider"


class UnsafeFile(RhoPushError):
    """Another user of this machine could have made or exchanged a file or folder that holds secrets."""

    code = "unsafe_file"
    label = "unsafe_file"


class CredentialError(RhoPushError):
    """A provider's key, certificate or account cannot be read or used."""

    code = "bad_credential"
    label = "bad_credential"


class ProviderUnreachable(RhoPushError):
    """A provider could not be reached, or what answered there does not speak HTTP/2 over trusted TLS."""

    status = 503
    code = "provider_unreachable"
    label = "provider_unreachable"
    retryable = True


class StoreDown(RhoPushError):
    """Redis did not answer, or refused. Nothing was accepted."""

    status = 503
    code = "store_unavailable"
    label = "store_down"
    retryable = True

    @property
    def of_data(self) -> bool:
        """Whether a key or value is what stands in the way: the same command fails until that is mended."""
        return False


class StoreRefused(StoreDown):
    """Redis answers and refuses, for a reason that lasts until an operator removes it. Nothing was accepted.

    Examples: a user without a permission, a wrong password, a renamed command, a Redis in cluster mode. The message
    holds the error of Redis.
    """

    code = "store_refused"
    label = "store_refused"


class StoreBusy(StoreDown):
    """Redis works, but all connections of this process to it are in use. Nothing was accepted."""

    code = "store_busy"
    label = "store_busy"


class AuthenticationBusy(RhoPushError):
    """More API tokens, sessions or passwords wait to be checked than this process checks in time.

    It says nothing about the credentials of the request: they were not looked at.
    """

    status = 503
    code = "authentication_busy"
    label = "authentication_busy"
    retryable = True


class UnreadableEntry(RhoPushError):
    """A stored entry is not what this version of the gateway writes. It is put aside, and a record of it kept."""

    code = "unreadable"
    label = "unreadable"


BAD_DATA: Final = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,  # among them RecursionError
    TypeError,
    ValueError,  # among them msgspec's errors and UnicodeError
    InputError,
    UnreadableEntry,
)
"""What code raises that meets data which it cannot use. A loop over records that others wrote catches these for each
record, so that one of them stops no other."""


class PossiblyAccepted(StoreDown):
    """The append was sent and its answer lost, and its marker could not be read in time.

    The caller gets 503 with the ping's id: asking for that id later tells whether it was accepted.

    Attributes:
        ping_id: the ping's id where it is not the one under which it was submitted; else "".
    """

    code = "possibly_accepted"
    label = "possibly_accepted"

    def __init__(self, message: str, *, field: str | None = None, ping_id: str = "") -> None:
        super().__init__(message, field=field)
        self.ping_id = ping_id


class QueueFull(RhoPushError):
    """The ingest backlog is over `limits.queue_pings` or `limits.queue_bytes`."""

    status = 503
    code = "queue_full"
    label = "queue_full"
    retryable = True


class BodiesFull(RhoPushError):
    """This process holds as many bytes of request bodies as `limits.bodies_bytes` allows."""

    status = 503
    code = "bodies_full"
    label = "bodies_full"
    retryable = True


class ChannelBroken(RhoPushError):
    """The supervisor and a worker no longer understand each other on a channel. Nothing but that channel ends."""

    code = "channel_broken"
    label = "channel_broken"


class MetricsUnavailable(RhoPushError):
    """The supervisor did not give the metrics in time. Pings are not concerned."""

    status = 503
    code = "metrics_unavailable"
    label = "metrics_unavailable"
    retryable = True


class TooManyRequests(RhoPushError):
    """A caller is over a rate limit. `retry_after_s` tells when it is worth another try."""

    status = 429
    code = "too_many_requests"
    label = "rate_limited"
    retryable = True

    def __init__(self, message: str, *, field: str | None = None, retry_after_s: int = 1) -> None:
        super().__init__(message, field=field)
        self.retry_after_s = retry_after_s


class IdempotencyConflict(RhoPushError):
    """The Idempotency-Key was used before with another body."""

    status = 409
    code = "idempotency_conflict"
    label = "idempotency_conflict"


class RequestTimeout(InputError):
    """A caller did not send its whole body in time."""

    status = 408
    code = "request_timeout"
    label = "request_timeout"
    retryable = True


class UnsupportedCoding(InputError):
    """The Content-Encoding of a request body is none that the gateway can decode (RFC 9110 §15.5.16)."""

    status = 415
    code = "unsupported_content_encoding"
    label = "unsupported_content_encoding"


class UnsupportedMediaType(InputError):
    """The Content-Type of a request body is none that the route reads (RFC 9110 §15.5.16)."""

    status = 415
    code = "unsupported_media_type"
    label = "unsupported_media_type"


class LineTooLong(InputError):
    """A line of a request with many pings is longer than `limits.line_bytes`."""

    status = 413
    code = "line_too_long"
    label = "line_too_long"


class ShuttingDown(RhoPushError):
    """The gateway process ends. What it had read of a streamed request is answered; the rest was not read."""

    status = 503
    code = "shutting_down"
    label = "shutting_down"
    retryable = True


class HeadTooLarge(InputError):
    """The line and the headers of a request are longer than the gateway reads (RFC 6585 §5)."""

    status = 431
    code = "head_too_large"
    label = "head_too_large"


class ExpectationRefused(InputError):
    """An Expect header asks for something else than 100-continue (RFC 9110 §10.1.1)."""

    status = 417
    code = "expectation_refused"
    label = "expectation_refused"


class NotFound(InputError):
    """No such route, ping, user or client."""

    status = 404
    code = "not_found"
    label = "not_found"


class NotAllowed(InputError):
    """The settings do not let this caller do this (`auth.devices: off`)."""

    status = 403
    code = "not_allowed"
    label = "not_allowed"


class ApiTokenRefused(InputError):
    """No API token that exists, or one whose user is no admin. In RhoConnect's status and words (contract §1.1)."""

    status = 422
    code = "api_token_refused"
    label = "api_token_refused"


class NotAuthenticated(InputError):
    """A device's call without a session (contract §2.1)."""

    status = 401
    code = "not_authenticated"
    label = "not_authenticated"


class LoginRefused(NotAuthenticated):
    """A login that does not exist or whose password is wrong (contract §2, §2.1)."""

    code = "login_refused"
    label = "login_refused"


class TooManyDevices(InputError):
    """A user has as many devices as `limits.devices_per_user` allows."""

    status = 422
    code = "too_many_devices"
    label = "too_many_devices"


class RecordRefused(InputError):
    """A user that cannot be created, with RhoConnect's status and words (contract §2: 500)."""

    status = 500
    code = "record_refused"
    label = "record_refused"
