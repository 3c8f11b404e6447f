"""The settings of one provider: a section with the provider's name, for all apps and again for each app.

The section of a provider is a subclass of `ProviderSettings`. Its fields are the settings; its class attributes and
methods hold the rules that the loader applies: which settings name a credential, which keys of RhoConnect mean the
same, which variable of the environment names a file. So the loader has no rule of a certain provider.
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

import msgspec

from gateway.settings.ruby_scalars import text_of


class IncompleteCredential(NamedTuple):
    """A setting that another one needs, and that is missing.

    Attributes:
        field: the missing setting.
        text: why it is needed.
        given: the setting that needs it.
    """

    field: str
    text: str
    given: str


class ProviderSettings(msgspec.Struct, frozen=True):
    """Base of all providers' sections.

    Attributes:
        credential_fields: settings that name the credential, each in its own way; at most one of them may be given.
        secret_files: settings that name a file with a secret; other users of the machine should not read such a file.
        rhoconnect_keys: setting -> RhoConnect's own key with the same meaning, below the environment.
        file_variables: setting -> variable of the environment that names the file where no setting does.
    """

    credential_fields: ClassVar[tuple[str, ...]] = ()
    secret_files: ClassVar[tuple[str, ...]] = ()
    rhoconnect_keys: ClassVar[Mapping[str, str]] = {}
    file_variables: ClassVar[Mapping[str, str]] = {}

    @property
    def configured(self) -> bool:
        """Whether there is a credential at all: without one nothing is sent to this provider."""
        return any(getattr(self, name) is not None for name in self.credential_fields)

    def incomplete(self) -> Iterator[IncompleteCredential]:
        """Settings that the given credential needs and that are missing."""
        yield from ()

    def ineffective(self) -> Iterator[str]:
        """Names of given settings that have no effect in this version."""
        yield from ()

    @classmethod
    def displaced(cls) -> dict[str, tuple[str, ...]]:
        """Setting -> the settings of a weaker layer that it replaces: one credential replaces another."""
        fields = cls.credential_fields
        return {name: tuple(other for other in fields if other != name) for name in fields}

    @classmethod
    def from_rhoconnect(cls, section: Mapping[str, Any]) -> dict[str, Any]:
        """The settings that RhoConnect's own keys amount to.

        Args:
            section: the keys below one environment, without colons.
        """
        keys = cls.rhoconnect_keys.items()
        return {name: text_of(section[key]) for name, key in keys if is_given(section, key)}

    @classmethod
    def apps_from_rhoconnect(cls, section: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """The same for RhoConnect's keys that hold a value for each `device_app_id`.

        Raises:
            BadSetting: a key has a shape that RhoConnect does not know either.
        """
        return {}


def is_given(section: Mapping[str, Any], key: str) -> bool:
    """Whether a key of RhoConnect has a value; an empty text is none."""
    value = section.get(key)
    return value is not None and value != ""
