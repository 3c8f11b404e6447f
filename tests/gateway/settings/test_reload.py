"""Changed settings: those that apply immediately, and those that need a restart."""

from pathlib import Path

import msgspec

from gateway.settings import ApnsSettings, App, FcmSettings, QueueSettings, Secret, Settings
from gateway.settings.reload import RELOADABLE, files_of, merge_reloadable, stamp

OLD = Settings(redis=Secret("one"), apns=ApnsSettings(key_id="A"), drain_s=1.0)


def test_a_new_credential_applies_immediately() -> None:
    new = msgspec.structs.replace(OLD, apns=ApnsSettings(key_id="B"), drain_s=2.0)
    assert merge_reloadable(OLD, new) == (new, ())


def test_settings_that_need_a_restart_are_named_without_their_values() -> None:
    new = msgspec.structs.replace(
        OLD, redis=Secret("two"), queue=QueueSettings(durability="aof"), apns=ApnsSettings(key_id="B")
    )
    found = merge_reloadable(OLD, new)
    assert found.settings.redis == Secret("one")
    assert found.settings.queue.durability == "memory"
    assert found.settings.apns.key_id == "B"
    assert found.needs_restart == ("redis", "queue.durability")


def test_every_live_name_is_a_setting() -> None:
    assert set(RELOADABLE) <= set(Settings.__struct_fields__)


def test_files_are_those_of_every_app_each_once() -> None:
    shared = FcmSettings(credentials_file=Path("account.json"))
    own = App(ApnsSettings(certificate_file=Path("a.pem"), ca_file=Path("ca.pem")), shared)
    assert files_of(Settings(fcm=shared, apps={"x": own})) == (
        Path("a.pem"),
        Path("account.json"),
        Path("ca.pem"),
    )


def test_a_file_replaced_by_another_of_the_same_size_has_another_stamp(tmp_path: Path) -> None:
    file, other = tmp_path / "key", tmp_path / "other"
    assert stamp(file) is None
    file.write_text("one")
    before = stamp(file)
    other.write_text("two")
    other.replace(file)
    assert before != stamp(file)
