"""The endpoints of webhooks (`webhooks.NAME`), and their checks at the start."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from gateway.settings.convert import Converter, SettingPath, did_you_mean
from gateway.system.secret import Secret
from protocols.errors import InputError
from protocols.webhooks.events import EVENT_TYPES
from protocols.webhooks.signature import SECRETS_MAX, key_of
from protocols.webhooks.target import Target, TargetKind, target_of

SECTION: Final = "webhooks"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class WebhookSettings(msgspec.Struct, frozen=True):
    """One endpoint of webhooks.

    Attributes:
        url: address of the endpoint (`protocols.webhooks.target`). Its query may contain a password, so it is a secret.
        secret: secrets that sign the messages; two while one replaces the other.
        events: event types that the endpoint receives.
        ca_file: PEM file of the certificate authorities that are trusted for `https://`; None: the system's.
        insecure: whether `http://` may name another machine.
    """

    url: Secret = Secret("")
    secret: tuple[Secret, ...] = ()
    events: tuple[str, ...] = ()
    ca_file: Path | None = None
    insecure: bool = False

    @property
    def target(self) -> Target:
        """The target of the URL, which was checked when the settings were read."""
        return target_of(self.url.reveal(), insecure=self.insecure)


def read(convert: Converter, given: Any) -> dict[str, WebhookSettings]:
    """Read all endpoints.

    Args:
        convert: converts values and makes errors.
        given: the value of `webhooks`.

    Raises:
        BadSetting: a name, URL, secret or event type is invalid; the message names the setting, and contains neither
            the URL nor a secret.
    """
    listed = convert.mapping(given, (SECTION,))
    return {name: _endpoint(convert, name, listed[name]) for name in listed}


def _endpoint(convert: Converter, name: str, given: Any) -> WebhookSettings:
    path = (SECTION, name)
    if not _NAME.fullmatch(name):
        raise convert.error(path, "a name has up to 64 letters, digits, and . _ - after the first character")
    tree = dict(convert.mapping(given, path))
    if isinstance(tree.get("secret"), str):
        tree["secret"] = [tree["secret"]]
    tree = {key: value for key, value in tree.items() if value is not None}
    found = convert.struct(WebhookSettings, tree, path)
    _check(convert, found, path)
    return found


def _check(convert: Converter, found: WebhookSettings, path: SettingPath) -> None:
    if not found.url:
        raise convert.error((*path, "url"), "is missing", given_at=path)
    try:
        target = found.target
    except InputError as error:
        raise convert.error((*path, "url"), error.message) from error
    _check_events(convert, found.events, (*path, "events"))
    _check_secrets(convert, found.secret, (*path, "secret"), needed=target.kind is TargetKind.HTTP)


def _check_events(convert: Converter, events: tuple[str, ...], path: SettingPath) -> None:
    known = ", ".join(EVENT_TYPES)
    if not events:
        raise convert.error(path, f"expected a list of event types: {known}", given_at=path[:-1])
    for kind in events:
        if kind not in EVENT_TYPES:
            hint = did_you_mean(kind, EVENT_TYPES)
            raise convert.error(path, f"{kind!r} is not an event type{hint} (known: {known})")


def _check_secrets(
    convert: Converter, secrets: tuple[Secret, ...], path: SettingPath, *, needed: bool
) -> None:
    if needed and not secrets:
        raise convert.error(path, "is missing: messages to a server are signed", given_at=path[:-1])
    if len(secrets) > SECRETS_MAX:
        raise convert.error(path, f"expected one secret, or {SECRETS_MAX} while one is replaced")
    for secret in secrets:
        try:
            key_of(secret.reveal())
        except InputError as error:
            raise convert.error(path, error.message) from error


def ca_files(webhooks: Mapping[str, WebhookSettings]) -> list[Path]:
    """Return the files of certificate authorities, which a reload must notice."""
    return [one.ca_file for one in webhooks.values() if one.ca_file is not None]
