"""Root of the error tree, and its branch for invalid inputs.

```
RhoPushError            any error that this product raises on purpose
├── InputError          a caller, a device or a file sent data that cannot be accepted (this module)
└── gateway.errors      operations that are impossible at present: store, queue, credentials, settings
```

Each class defines the HTTP status of the response, the public code, the metric label and whether the same request
may succeed later. Messages name the value that was found and the expected one; they never contain a token or a key.
"""

from typing import ClassVar, Final


class RhoPushError(Exception):
    """Root of the tree; never raised itself.

    Attributes:
        status: HTTP status of the response.
        code: the public, stable name in the JSON error.
        label: the value of the `reason` label in metrics.
        retryable: whether the same request may succeed later, unchanged.
        field: the invalid parameter or setting, if there is one.
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
    """A method of a protocol machine was called in a state that does not allow it: a defect of this program."""

    code = "wrong_state"
    label = "wrong_state"


class InputError(RhoPushError):
    """Received data is invalid; the caller must change it."""

    status = 400
    code = "invalid_request"
    label = "invalid"


class MalformedBody(InputError):
    """The body does not match its Content-Type, or is not a JSON object. The message contains the position."""

    code = "malformed_body"
    label = "malformed"


class InvalidField(InputError):
    """A parameter has a wrong type or value. `field` names it; the message contains the expected form."""

    code = "invalid_field"
    label = "invalid_field"


class InvalidToken(InputError):
    """A push token has an invalid form (an APNs token that is not hexadecimal), and must not become part of a path."""

    code = "invalid_device_token"
    label = "invalid_device_token"


class BodyTooLarge(InputError):
    """The body is larger than its caller may send, or names more users than `limits.users_per_ping`."""

    status = 413
    code = "too_large"
    label = "too_large"


class UnsupportedCoding(InputError):
    """The gateway cannot decode the Content-Encoding of a request body (RFC 9110 §15.5.16)."""

    status = 415
    code = "unsupported_content_encoding"
    label = "unsupported_content_encoding"


class PayloadTooLarge(InputError):
    """The content of a ping does not fit into a provider's message (APNs and FCM: 4,096 bytes)."""

    status = 413
    code = "payload_too_large"
    label = "PayloadTooLarge"


class InvalidCredential(InputError):
    """A key, certificate or account is invalid. The message never shows any of it."""

    code = "invalid_credential"
    label = "invalid_credential"


class CredentialRefused(InvalidCredential):
    """The provider refuses the credential: an operator must correct it."""

    code = "credential_refused"
    label = "credential_refused"


class NoAccessToken(RhoPushError):
    """The token server returned no token; a later request may succeed."""

    status = 503
    code = "no_access_token"
    label = "no_access_token"
    retryable = True


class NothingToSend(InputError):
    """A ping has no content that this provider could show or sync."""

    code = "nothing_to_send"
    label = "nothing_to_send"


_JSON_NAMES: Final[dict[type, str]] = {
    str: "a text",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    list: "a list",
    tuple: "a list",
    dict: "an object",
    type(None): "null",
}


def wrong_type(field: str, expected: str, value: object) -> InvalidField:
    """Make the error for a value of a wrong type. It names the type that was found, never the value.

    Args:
        field: path of the parameter.
        expected: the expected type, as "a text".
        value: the value that was found, in JSON's types.
    """
    found = _JSON_NAMES.get(type(value), "another kind of value")
    return InvalidField(f"{field} must be {expected}, not {found}", field=field)
