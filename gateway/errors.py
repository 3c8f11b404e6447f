"""Errors of the gateway: operations that are impossible at present, and problems that an operator must solve.

The root class, and the errors about inputs, are in `protocols.errors`. Exceptions of libraries and of the OS (redis,
aiohttp, ssl) are converted to these where the library is called, with the cause kept.
"""

from typing import Final

from protocols.errors import InputError, RhoPushError

__all__ = [
    "BAD_DATA",
    "AuthenticationBusy",
    "BadProvider",
    "BadSetting",
    "BodiesFull",
    "CancellationsFull",
    "ChannelBroken",
    "ConnectionsFull",
    "CredentialError",
    "IdempotencyConflict",
    "InputError",
    "MetricsUnavailable",
    "NotStored",
    "PingFinished",
    "PossiblyAccepted",
    "ProviderUnreachable",
    "QueueFull",
    "RhoPushError",
    "ScheduleFull",
    "StoreBusy",
    "StoreDown",
    "StoreRefused",
    "StreamsFull",
    "TooManyRequests",
    "UnexpectedFailure",
    "UnreadableEntry",
]


class BadSetting(RhoPushError):
    """A setting is unknown or invalid. The command ends with one line and exit status 2."""

    code = "bad_setting"
    label = "bad_setting"


class BadProvider(BadSetting):
    """An installed provider cannot be used. As with an invalid setting, a restart does not help."""

    code = "bad_provider"
    label = "bad_provider"


class UnsafeFile(RhoPushError):
    """Another user of this machine could have created or replaced a file or folder that holds secrets."""

    code = "unsafe_file"
    label = "unsafe_file"


class CredentialError(RhoPushError):
    """A provider's key, certificate or account cannot be read or used."""

    code = "credential_invalid"
    label = "credential_invalid"


class ProviderUnreachable(RhoPushError):
    """A provider cannot be reached, or the server at its address does not speak HTTP/2 over trusted TLS."""

    status = 503
    code = "provider_unreachable"
    label = "provider_unreachable"
    retryable = True


class StoreDown(RhoPushError):
    """Redis did not answer, or refused. No ping was accepted."""

    status = 503
    code = "store_unavailable"
    label = "store_down"
    retryable = True

    @property
    def of_data(self) -> bool:
        """Whether an unusable key or value is the cause: the same command fails until it is corrected."""
        return False


class StoreRefused(StoreDown):
    """Redis refuses for a reason that lasts until an operator removes it. No ping was accepted.

    Examples: a user without a permission, a wrong password, a renamed command, a Redis in cluster mode. The message
    holds the error of Redis.
    """

    code = "store_refused"
    label = "store_refused"


class StoreBusy(StoreDown):
    """All connections of this process to Redis are in use, although Redis works. No ping was accepted."""

    code = "store_busy"
    label = "store_busy"


class AuthenticationBusy(RhoPushError):
    """More API tokens, sessions or passwords wait to be checked than this process checks in time.

    The error does not depend on the credentials of the request, which were not checked.
    """

    status = 503
    code = "authentication_busy"
    label = "authentication_busy"
    retryable = True


class ConnectionsFull(RhoPushError):
    """This process has as many HTTP connections as `limits.connections` allows."""

    status = 503
    code = "connections_full"
    label = "connections_full"
    retryable = True


class UnexpectedFailure(RhoPushError):
    """The gateway failed unexpectedly. Its log has the reason."""

    code = "internal"
    label = "internal"


class StreamsFull(RhoPushError):
    """The console serves as many live pages as one process may."""

    status = 503
    code = "streams_full"
    label = "streams_full"
    retryable = True


class UnreadableEntry(RhoPushError):
    """A stored entry does not have the format of this version. It is quarantined, and a record of it is stored."""

    code = "unreadable"
    label = "unreadable"


BAD_DATA: Final = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,  # includes RecursionError
    TypeError,
    ValueError,  # includes msgspec's errors and UnicodeError
    InputError,
    UnreadableEntry,
)
"""Exceptions that code raises on unusable data. A loop over records that others wrote catches them for each record,
so that one bad record does not stop the others."""


class PossiblyAccepted(StoreDown):
    """The append was sent, its reply was lost, and its marker could not be read in time.

    The caller gets 503 with the ping's id, and can query later whether the ping was accepted.

    Attributes:
        ping_id: the ping's id if it differs from the id under which it was submitted; else "".
    """

    code = "possibly_accepted"
    label = "possibly_accepted"

    def __init__(self, message: str, *, field: str | None = None, ping_id: str = "") -> None:
        super().__init__(message, field=field)
        self.ping_id = ping_id


class QueueFull(RhoPushError):
    """The ingest backlog exceeds `limits.queue_pings` or `limits.queue_bytes`."""

    status = 503
    code = "queue_full"
    label = "queue_full"
    retryable = True


class ScheduleFull(RhoPushError):
    """The scheduled pings exceed `limits.scheduled_pings` or `limits.scheduled_bytes`."""

    status = 503
    code = "schedule_full"
    label = "schedule_full"
    retryable = True


class BodiesFull(RhoPushError):
    """This process holds as many bytes of request bodies as `limits.bodies_bytes` allows."""

    status = 503
    code = "bodies_full"
    label = "bodies_full"
    retryable = True


class ChannelBroken(RhoPushError):
    """Invalid data on a channel between the supervisor and a worker. Only that channel ends."""

    code = "channel_broken"
    label = "channel_broken"


class MetricsUnavailable(RhoPushError):
    """The supervisor did not return the metrics in time. Pings are not affected."""

    status = 503
    code = "metrics_unavailable"
    label = "metrics_unavailable"
    retryable = True


class TooManyRequests(RhoPushError):
    """A caller exceeded a rate limit. `retry_after_s` is the time until the next permitted attempt."""

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


class PingFinished(InputError):
    """The ping cannot be cancelled: all of its deliveries have their final verdicts."""

    status = 409
    code = "ping_finished"
    label = "ping_finished"


class CancellationsFull(RhoPushError):
    """The set of pings that are cancelled and not finished has reached `keys.CANCELLED_MAX`."""

    status = 503
    code = "cancellations_full"
    label = "cancellations_full"
    retryable = True


class RequestTimeout(InputError):
    """The body of a request was not complete within its time limit."""

    status = 408
    code = "request_timeout"
    label = "request_timeout"
    retryable = True


class UnsupportedMediaType(InputError):
    """The route does not accept the Content-Type of a request body (RFC 9110 §15.5.16)."""

    status = 415
    code = "unsupported_media_type"
    label = "unsupported_media_type"


class LineTooLong(InputError):
    """A line of a request with many pings is longer than `limits.line_bytes`."""

    status = 413
    code = "line_too_long"
    label = "line_too_long"


class ShuttingDown(RhoPushError):
    """The gateway process ends. The lines of a streamed request that were read are answered; the rest was not read."""

    status = 503
    code = "shutting_down"
    label = "shutting_down"
    retryable = True


class HeadTooLarge(InputError):
    """The request line and headers exceed the length that the gateway reads (RFC 6585 §5)."""

    status = 431
    code = "head_too_large"
    label = "head_too_large"


class ExpectationRefused(InputError):
    """An Expect header has another value than 100-continue (RFC 9110 §10.1.1)."""

    status = 417
    code = "expectation_refused"
    label = "expectation_refused"


class NotFound(InputError):
    """The route, ping, user or client does not exist."""

    status = 404
    code = "not_found"
    label = "not_found"


class NotStored(InputError):
    """The data that this operation needs was not stored, or is damaged."""

    status = 409
    code = "not_stored"
    label = "not_stored"


class NotAllowed(InputError):
    """The settings forbid this operation to this caller (`auth.devices: off`)."""

    status = 403
    code = "not_allowed"
    label = "not_allowed"


class NameTaken(InputError):
    """A record of this name exists, or there is no room for a further one."""

    status = 409
    code = "name_taken"
    label = "name_taken"


class AppNotAllowed(NotAllowed):
    """The caller's token is limited to apps, and the request concerns others."""

    code = "app_not_allowed"
    label = "app_not_allowed"


class ScopeMissing(NotAllowed):
    """The caller is valid and lacks a scope (`gateway.registry.scopes`). `field` is the name of the scope."""

    code = "scope_missing"
    label = "scope_missing"


class ApiTokenRefused(InputError):
    """The API token does not exist, or its user is not an admin. Status and text are RhoConnect's (contract §1.1)."""

    status = 422
    code = "api_token_refused"
    label = "api_token_refused"


class NotAuthenticated(InputError):
    """A device's request has no session (contract §2.1)."""

    status = 401
    code = "not_authenticated"
    label = "not_authenticated"


class LoginRefused(NotAuthenticated):
    """The login does not exist, or its password is wrong (contract §2, §2.1)."""

    code = "login_refused"
    label = "login_refused"


class TooManyDevices(InputError):
    """A user has as many devices as `limits.devices_per_user` allows."""

    status = 422
    code = "too_many_devices"
    label = "too_many_devices"


class TooManyUsers(InputError):
    """There are as many users as devices may create (`limits.users`)."""

    status = 422
    code = "too_many_users"
    label = "too_many_users"


class RecordRefused(InputError):
    """A user cannot be created; status and text are RhoConnect's (contract §2: 500)."""

    status = 500
    code = "record_refused"
    label = "record_refused"
