"""The root of the one error tree, and its branch for what is wrong with an input.

```
RhoPushError            anything that this product raises on purpose
├── InputError          a caller, a device or a file said something that cannot be accepted (here)
└── gateway.errors      what the gateway cannot do now: store, queue, credentials, settings
```

Each class fixes four answers: the HTTP status a door gives, the public code, the metric label and whether the
same request may succeed later. Messages name what was found and what was expected; they never hold a token or
a key.
"""

from typing import ClassVar


class RhoPushError(Exception):
    """Root of the tree. Never raised itself.

    Attributes:
        status: HTTP status of the door's answer.
        code: the public, stable name in the JSON error.
        label: the value of the `reason` label in metrics.
        retryable: whether the same request may succeed later, unchanged.
        field: the parameter or setting at fault, where one is.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    label: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field


class WrongState(RhoPushError):
    """A protocol machine was asked for what its state does not allow: a mistake in this program."""

    code = "wrong_state"
    label = "wrong_state"


class InputError(RhoPushError):
    """Something that was sent to us is wrong; the caller must change it."""

    status = 400
    code = "invalid_request"
    label = "invalid"


class MalformedBody(InputError):
    """The body is not what its Content-Type says, or not a JSON object. The message names the place."""

    code = "malformed_body"
    label = "malformed"


class InvalidField(InputError):
    """One parameter has a wrong type or value. `field` names it; the message says what was expected."""

    code = "invalid_field"
    label = "invalid_field"


class InvalidToken(InputError):
    """A device token that cannot be one (an APNs token that is no hex): it must not reach a path."""

    code = "invalid_device_token"
    label = "invalid_device_token"


class BodyTooLarge(InputError):
    """The body is larger than its caller may send, or names more users than `limits.users_per_ping`."""

    status = 413
    code = "too_large"
    label = "too_large"


class PayloadTooLarge(InputError):
    """What a ping asks for does not fit into a provider's message (APNs and FCM: 4,096 bytes)."""

    status = 413
    code = "payload_too_large"
    label = "PayloadTooLarge"


class InvalidCredential(InputError):
    """A key, certificate or account is not what it must be. The message never shows any of it."""

    code = "invalid_credential"
    label = "invalid_credential"


class CredentialRefused(InvalidCredential):
    """The provider does not accept the credential: a person must mend it."""

    code = "credential_refused"
    label = "credential_refused"


class NoAccessToken(RhoPushError):
    """The token server gave none now; asking again later may help."""

    status = 503
    code = "no_access_token"
    label = "no_access_token"
    retryable = True


class NothingToSend(InputError):
    """A ping holds nothing that this platform could show or sync."""

    code = "nothing_to_send"
    label = "nothing_to_send"
