"""The operations of users, devices and logins."""

from collections.abc import Mapping
from typing import Any, Final

from gateway.errors import NotAllowed, NotFound, RecordRefused, TooManyUsers
from gateway.http_api.devices import CreatedClient
from gateway.http_api.openapi.errors import Errors
from gateway.http_api.openapi.values import (
    CLIENT_ID_TEXT,
    LOGIN_TEXT,
    PLAIN,
    TEXT,
    Part,
    answer,
    header,
    html_json_answer,
    json_answer,
    json_body,
    reference,
    text_answer,
)
from gateway.http_api.sessions import COOKIE
from gateway.http_api.users import RecordField
from gateway.registry.client_scripts import DEVICE_FIELDS
from gateway.registry.clients import FIELD_CHARACTERS

FORMS: Final = (CreatedClient, RecordField)
CREATING: Final[Errors] = (RecordRefused,)
ENTERING: Final[Errors] = (NotAllowed, RecordRefused, TooManyUsers)
"""Errors of the login of a device."""
NAMING: Final[Errors] = (NotFound,)
"""Errors of a route whose user or client is a parameter."""

_CLIENT_ID: Final = "0123456789abcdef0123456789abcdef"
_TEXTS: Final[Part] = {"type": "array", "items": TEXT}
_FIELDS: Final[Part] = {"type": "array", "items": reference("RecordField")}
_SET_COOKIE: Final = {"Set-Cookie": header(f"The session, in the cookie `{COOKIE}`.")}
_LOGIN: Final[Part] = {
    "type": "object",
    "required": ["login", "password"],
    "properties": {"login": LOGIN_TEXT, "password": TEXT},
}
_LOGIN_BODY: Final = json_body(_LOGIN, {"login": "rhoadmin", "password": "a-password"})
_USER: Final[Part] = {
    "type": "object",
    "required": ["attributes"],
    "additionalProperties": False,
    "properties": {
        "attributes": {
            "type": "object",
            "required": ["login"],
            "additionalProperties": False,
            "properties": {"login": LOGIN_TEXT, "password": TEXT},
        }
    },
}
_CHANGES: Final[Part] = {
    "type": "object",
    "required": ["attributes"],
    "additionalProperties": False,
    "properties": {
        "attributes": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"email": TEXT, "password": TEXT, "new_password": TEXT},
        }
    },
}
_FIELD: Final[Part] = {**TEXT, "maxLength": FIELD_CHARACTERS}
_OWNER: Final[Part] = {**TEXT, "description": "With an API token: the login of the device's user."}
_DEVICE: Final[Part] = {
    "type": "object",
    "properties": {**dict.fromkeys(DEVICE_FIELDS, _FIELD), "user_id": _OWNER},
}
_EXAMPLE_DEVICE: Final = {
    "device_type": "Apple",
    "device_pin": "ab" * 32,
    "device_app_id": "com.example.app",
    "phone_id": "phone-1",
}
_NAMED_DEVICE: Final[Part] = {
    "type": "object",
    "required": ["client_id"],
    "properties": {
        "client_id": CLIENT_ID_TEXT,
        **dict.fromkeys(DEVICE_FIELDS, _FIELD),
        "user_id": _OWNER,
    },
}


def _named(name: str, value: Part, example: str) -> Part:
    """Return the body of a route that has an id as a parameter."""
    schema = {"type": "object", "required": [name], "properties": {name: value}}
    return json_body(schema, {name: example})


_USERS: Final = html_json_answer(_TEXTS, '["bob","eve"]', "All logins.")
_CLIENTS: Final = html_json_answer(_TEXTS, f'["{_CLIENT_ID}"]', "The ids of the user's clients.")
_CLIENT: Final = html_json_answer(
    _FIELDS, '[{"name":"device_type","type":"string","value":"Apple"}]', "The client's fields."
)
_REGISTERED: Final = text_answer("", "The client is registered.")
_LOGGED_IN: Final = {**text_answer("", "The session is created."), "headers": _SET_COOKIE}
_CREATED: Final = json_answer(
    reference("CreatedClient"), {"client": {"client_id": _CLIENT_ID}}, "The client is created."
)

ADMIN_LOGIN: Final = answer(
    {**text_answer("an-api-token", "The API token."), "headers": _SET_COOKIE}, requestBody=_LOGIN_BODY
)
USERS: Final = answer(_USERS)
USER: Final = answer(
    html_json_answer(_FIELDS, '[{"name":"login","type":"string","value":"bob"}]', "The user's fields.")
)
CREATE_USER: Final = answer(
    text_answer("User created", "The user is created."),
    requestBody=json_body(_USER, {"attributes": {"login": "bob", "password": "a-password"}}),
)
UPDATE_USER: Final = answer(
    text_answer("User updated", "The user is changed."),
    requestBody=json_body(_CHANGES, {"attributes": {"email": "bob@example.com"}}),
)
DELETE_USER: Final = answer(text_answer("User deleted", "The user is deleted."))
USER_CLIENTS: Final = answer(_CLIENTS)
USER_CLIENTS_BY_PARAMETER: Final = answer(_CLIENTS, requestBody=_named("user_id", TEXT, "bob"))
DELETE_CLIENT: Final = answer(text_answer("Client deleted", "The client is deleted."))
CLIENT: Final = answer(_CLIENT)
CLIENT_BY_PARAMETER: Final = answer(_CLIENT, requestBody=_named("client_id", CLIENT_ID_TEXT, _CLIENT_ID))
SOURCES: Final = answer(html_json_answer(_TEXTS, '["Product"]', "The names of the sources."))
DEVICE_LOGIN: Final = answer(_LOGGED_IN, requestBody=_LOGIN_BODY)
DEVICE_LOGIN_WITH_BODY: Final = answer(
    {
        **html_json_answer(
            {"type": "object", "required": [COOKIE], "properties": {COOKIE: TEXT}},
            f'{{"{COOKIE}":"rhoconnect_session%3Da-cookie"}}',
            "The session is created; the body has its cookie.",
        ),
        "headers": _SET_COOKIE,
    },
    requestBody=_LOGIN_BODY,
)
CREATE_CLIENT: Final = answer(_CREATED, requestBody=json_body(_DEVICE, _EXAMPLE_DEVICE, required=False))
CREATE_CLIENT_BY_GET: Final = answer(_CREATED)
REGISTER_CLIENT: Final = answer(_REGISTERED, requestBody=json_body(_DEVICE, _EXAMPLE_DEVICE))
REGISTER_CLIENT_BY_PARAMETER: Final = answer(
    _REGISTERED, requestBody=json_body(_NAMED_DEVICE, {"client_id": _CLIENT_ID, **_EXAMPLE_DEVICE})
)
_BASIC: Final[list[Part]] = [{"basic": []}]
_AUTHENTICATED: Final[Part] = {"204": {"description": "Authenticated."}}
PUSH_APP_LOGIN: Final[Mapping[str, Any]] = {
    "security": _BASIC,
    "responses": {
        **_AUTHENTICATED,
        "401": text_answer("Invalid RhoConnect Push server credentials", "Other credentials, or none."),
        "500": text_answer("Invalid RhoConnect Push settings", "The setting `push_server` is missing."),
    },
}
PUSH_USER_LOGIN: Final[Mapping[str, Any]] = {
    "security": [{"session": [], "basic": []}],
    "responses": {
        **_AUTHENTICATED,
        "401": {
            **text_answer("Not authenticated", "No session, or no Basic credentials.", PLAIN),
            "content": {
                PLAIN: {"schema": TEXT, "example": "Not authenticated"},
                "text/html": {"schema": TEXT},
            },
        },
    },
}
