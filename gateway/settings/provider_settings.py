"""The settings of one provider: a section with the provider's name, for all apps and again for each app.

The section of a provider is a subclass of `ProviderSettings`. Its fields are the settings; its class attributes and
methods hold the rules that the loader applies: the settings that name a credential, RhoConnect's keys with the same
meaning, and the variables of the environment that name a file. Thus the loader has no rule for a particular provider.
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

import msgspec

from gateway.settings.ruby_scalars import text_of


class IncompleteCredential(NamedTuple):
    """A missing setting that another setting requires.

    Attributes:
        field: the missing setting.
        text: the reason.
        given: the setting that requires it.
    """

    field: str
    text: str
    given: str


class ProviderSettings(msgspec.Struct, frozen=True):
    """Base of all providers' sections.

    Attributes:
        credential_fields: settings that name the credential in different ways; at most one of them may be given.
        secret_files: settings that name a file with a secret, which other users of the machine should not read.
        rhoconnect_keys: setting -> RhoConnect's own key with the same meaning, below the environment.
        file_variables: setting -> variable of the environment that names the file if no setting does.
    """

    credential_fields: ClassVar[tuple[str, ...]] = ()
    secret_files: ClassVar[tuple[str, ...]] = ()
    rhoconnect_keys: ClassVar[Mapping[str, str]] = {}
    file_variables: ClassVar[Mapping[str, str]] = {}

    @property
    def configured(self) -> bool:
        """Whether there is a credential: without one, the provider is not used."""
        return any(getattr(self, name) is not None for name in self.credential_fields)

    def incomplete(self) -> Iterator[IncompleteCredential]:
        """Yield the missing settings that the given credential requires."""
        yield from ()

    def ineffective(self) -> Iterator[str]:
        """Yield the names of given settings that have no effect in this version."""
        yield from ()

    @classmethod
    def displaced(cls) -> dict[str, tuple[str, ...]]:
        """Return, for each setting, the settings of a weaker layer that it replaces: a credential replaces another
        one."""
        fields = cls.credential_fields
        return {name: tuple(other for other in fields if other != name) for name in fields}

    @classmethod
    def from_rhoconnect(cls, section: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings that correspond to RhoConnect's own keys.

        Args:
            section: the keys below one environment, without colons.
        """
        keys = cls.rhoconnect_keys.items()
        return {name: text_of(section[key]) for name, key in keys if is_given(section, key)}

    @classmethod
    def apps_from_rhoconnect(cls, section: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Return the settings that correspond to RhoConnect's keys with a value for each `device_app_id`.

        Raises:
            BadSetting: a key has a form that RhoConnect does not accept either.
        """
        return {}


def is_given(section: Mapping[str, Any], key: str) -> bool:
    """Return whether a key of RhoConnect has a value; an empty text is not a value."""
    value = section.get(key)
    return value is not None and value != ""
