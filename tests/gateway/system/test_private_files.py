"""Secrets on a machine with other users: links and open folders are refused by name, readable ones reported."""

import os
import stat
from pathlib import Path

import pytest

from gateway.errors import StoreDown, UnsafeFile
from gateway.server.data_dir import DataDir, DataDirInUse, check_data_dir
from gateway.store.embedded import EmbeddedStore
from gateway.system.private_files import (
    SECRET_BYTES,
    file_warnings,
    folder_warnings,
    read_secret,
    write_secret,
)

NAMES = ["supervisor.lock", "workers.lock", "gateway_id", "api_token"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    return folder


def use(path: Path) -> None:
    """All operations of a supervisor on its folder."""
    folder = DataDir(path)
    try:
        folder.lock()
        folder.gateway_id()
        folder.api_token()
    finally:
        folder.release()


def test_a_data_folder_that_is_anothers_link_is_refused(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = tmp_path / "link"
    link.symlink_to(path)
    maker = link.lstat().st_uid
    if maker == 0:
        os.chown(link, 4_321, -1, follow_symlinks=False)
    else:
        monkeypatch.setattr(os, "getuid", lambda: maker + 1)
    for look in (use, check_data_dir):
        with pytest.raises(UnsafeFile, match=r"/link is a symbolic link that another user made"):
            look(link)
    assert list(path.iterdir()) == []


def test_a_data_folder_that_is_ones_own_link_is_warned_about(tmp_path: Path, path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(path)
    use(link)
    assert [warning.partition(": ")[0] for warning in folder_warnings(link)] == [
        f"{link} is a symbolic link to {path}"
    ]


def test_a_link_of_roots_to_the_data_folder_is_the_administrators(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Create the link as systemd does if the gateway runs as a user of its own."""
    link = tmp_path / "link"
    link.symlink_to(path)
    if link.lstat().st_uid == 0:
        os.chown(path, 4_321, -1)
        monkeypatch.setattr(os, "getuid", lambda: 4_321)
        use(link)
        assert folder_warnings(link) == []


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_link_in_the_data_folder_is_refused(tmp_path: Path, path: Path, name: str, there: bool) -> None:
    """Also a link to a missing file, which would be created."""
    target = tmp_path / "target"
    if there:
        target.write_text("planted by another user")
    (path / name).symlink_to(target)
    for look in (use, check_data_dir):
        with pytest.raises(UnsafeFile, match=rf"/{name} is a symbolic link"):
            look(path)
    assert target.exists() is there
    if there:
        assert target.read_text() == "planted by another user"


@pytest.mark.parametrize("name", ["gateway_id", "api_token"])
def test_a_link_in_the_place_of_a_draft_is_not_followed(tmp_path: Path, path: Path, name: str) -> None:
    target = tmp_path / "target"
    target.write_text("of another user")
    (path / f".{name}").symlink_to(target)
    use(path)
    assert target.read_text() == "of another user"
    assert (path / name).read_text().strip() != "of another user"


@pytest.mark.parametrize("mode", [0o707, 0o777, 0o1777, 0o702])
def test_a_data_folder_that_everybody_may_write_is_refused(path: Path, mode: int) -> None:
    path.chmod(mode)
    for look in (use, check_data_dir):
        with pytest.raises(UnsafeFile, match=r"/data may be written by every user of this machine"):
            look(path)


def test_a_token_that_everybody_may_write_is_refused(path: Path) -> None:
    use(path)
    (path / "api_token").chmod(0o666)
    for look in (use, check_data_dir):
        with pytest.raises(UnsafeFile, match=r"api_token may be written by every user"):
            look(path)


@pytest.mark.parametrize("name", NAMES)
def test_a_path_that_is_not_a_file_is_refused_without_waiting(path: Path, name: str) -> None:
    os.mkfifo(path / name)
    with pytest.raises(
        (UnsafeFile, DataDirInUse), match=name if "lock" not in name else "not a regular file"
    ):
        use(path)


def test_an_endless_token_is_refused(path: Path) -> None:
    (path / "api_token").write_text("x" * (SECRET_BYTES + 1))
    with pytest.raises(UnsafeFile, match="longer than"):
        use(path)


def test_new_files_are_private_to_their_owner(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        use(tmp_path / "data")
        write_secret(tmp_path / "data" / "more", b"secret")
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    for name in (*NAMES, "more"):
        assert stat.S_IMODE((tmp_path / "data" / name).stat().st_mode) == 0o600
    assert read_secret(tmp_path / "data" / "more") == b"secret"
    assert read_secret(tmp_path / "data" / "missing") is None


@pytest.mark.parametrize(
    ("mode", "told"),
    [
        (0o700, ""),
        (0o750, ""),
        (0o770, "may be written by its group"),
        (0o755, "may be read by every user"),
        (0o711, "may be read by every user"),
    ],
)
def test_a_folder_that_others_can_read_or_write_is_warned_of(path: Path, mode: int, told: str) -> None:
    path.chmod(mode)
    assert len(folder_warnings(path)) == bool(told)
    assert all(told in warning and str(path) in warning for warning in folder_warnings(path))


def test_a_folder_of_another_user_is_warned_about(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maker = path.stat().st_uid
    assert folder_warnings(path) == []
    if maker == 0:
        os.chown(path, 4_321, -1)
    else:
        monkeypatch.setattr(os, "getuid", lambda: maker + 1)
    assert folder_warnings(path) == [f"{path} belongs to another user"]


def test_a_folder_that_may_be_exchanged(tmp_path: Path, path: Path) -> None:
    for mode, told in ((0o777, 1), (0o1777, 0)):
        tmp_path.chmod(mode)
        assert len(folder_warnings(path)) == told
    assert folder_warnings(tmp_path / "missing") == []


@pytest.mark.parametrize(
    ("mode", "told"), [(0o600, ""), (0o640, ""), (0o644, "be read by"), (0o666, "be read and written by")]
)
def test_a_file_that_others_can_read_or_write_is_warned_of(tmp_path: Path, mode: int, told: str) -> None:
    (tmp_path / "key").write_text("secret")
    (tmp_path / "key").chmod(mode)
    warnings = file_warnings(tmp_path / "key", "apns.key_file")
    assert len(warnings) == bool(told)
    assert all(told in warning and "apns.key_file" in warning for warning in warnings)
    assert file_warnings(tmp_path / "missing", "apns.key_file") == []


@pytest.mark.parametrize("place", ["", "lock"])
def test_the_embedded_store_follows_no_link(tmp_path: Path, place: str) -> None:
    target, folder = tmp_path / "target", tmp_path / "valkey"
    if place:
        folder.mkdir()
    else:
        target.mkdir()
    (folder / place).symlink_to(target)
    store = EmbeddedStore(folder)
    with pytest.raises((UnsafeFile, StoreDown), match="is a symbolic link"):
        store.start()
    assert not target.exists() or list(target.iterdir()) == []
