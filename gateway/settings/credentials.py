"""Check that each app has at most one credential per provider, and that it is complete."""

from gateway.settings.convert import Converter, SettingPath
from gateway.settings.model import App
from gateway.settings.provider_settings import ProviderSettings


def one_credential(convert: Converter, app: App, setting_path: SettingPath) -> None:
    """Check the credentials of one layer. Between layers, a credential replaces that of the lower layer.

    Raises:
        BadSetting: two credentials for one provider, or a credential without a setting that it requires.
    """
    for name in app.__struct_fields__:
        _only_one(convert, app.provider(name), (*setting_path, name))
    for name in app.__struct_fields__:
        for lacking in app.provider(name).incomplete():
            given_at = (*setting_path, name, lacking.given)
            raise convert.error((*setting_path, name, lacking.field), lacking.text, given_at=given_at)


def _only_one(convert: Converter, part: ProviderSettings, setting_path: SettingPath) -> None:
    given = [name for name in part.credential_fields if getattr(part, name) is not None]
    if len(given) > 1:
        raise convert.error((*setting_path, given[0]), f"give one credential, not {' and '.join(given)}")
