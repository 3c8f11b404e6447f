"""That an app has at most one credential a provider, and a whole one."""

from gateway.settings.convert import Converter, SettingPath
from gateway.settings.model import ApnsSettings, App, FcmSettings


def one_credential(convert: Converter, app: App, setting_path: SettingPath) -> None:
    """Check what is said in one layer; between layers the upper one has displaced the lower already.

    Raises:
        BadSetting: two credentials for one provider, or a p8 key without its id or team.
    """
    _only_one(convert, app.apns, ("key", "key_file", "certificate_file"), (*setting_path, "apns"))
    _only_one(convert, app.fcm, ("credentials", "credentials_file"), (*setting_path, "fcm"))
    if app.apns.key is None and app.apns.key_file is None:
        return
    key = (*setting_path, "apns", "key_file" if app.apns.key is None else "key")
    for name in ("key_id", "team_id"):
        if not getattr(app.apns, name):
            raise convert.error((*setting_path, "apns", name), "a p8 key needs it", given_at=key)


def _only_one(
    convert: Converter, part: ApnsSettings | FcmSettings, names: tuple[str, ...], setting_path: SettingPath
) -> None:
    given = [name for name in names if getattr(part, name) is not None]
    if len(given) > 1:
        raise convert.error((*setting_path, given[0]), f"give one credential, not {' and '.join(given)}")
