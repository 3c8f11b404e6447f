"""Files and folders that other users of this machine must not exchange or read: opened without following a link, and
checked before use.

A symbolic link in the place of a secret lets the user who made it choose the file that is read or overwritten. A folder
that others may write lets them put such a link there. Both are refused by name. What others may only read is reported.
"""

import os
import stat
from pathlib import Path
from typing import Final

from gateway.errors import UnsafeFile

_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_OTHERS_WRITE: Final = stat.S_IWOTH
_OTHERS_READ: Final = stat.S_IROTH | stat.S_IXOTH
SECRET_BYTES: Final = 4_096
"""More than any secret has that the gateway keeps in a file of its own."""


def refuse_link(path: Path) -> None:
    """Let nothing through that is a symbolic link.

    Raises:
        UnsafeFile: it is one.
    """
    if path.is_symlink():
        raise UnsafeFile(f"{path} is a symbolic link: it must be the file or folder itself")


def check_folder(path: Path) -> None:
    """Look at a folder that holds secrets. One that cannot be looked at is passed over: using it fails by itself.

    A symbolic link to it counts if root made it, as systemd does for `DynamicUser` and `StateDirectory`, or this user.

    Raises:
        UnsafeFile: it is another user's symbolic link, or other users may write into it.
    """
    if path.is_symlink() and path.lstat().st_uid not in (0, os.getuid()):
        raise UnsafeFile(f"{path} is a symbolic link that another user made")
    try:
        found = path.stat()
    except OSError:
        return
    if stat.S_ISDIR(found.st_mode) and found.st_mode & _OTHERS_WRITE:
        raise UnsafeFile(f"{path} may be written by every user of this machine: chmod o-rwx {path}")


def folder_warnings(path: Path) -> list[str]:
    """What lets other users look into a folder, or exchange it; empty also where there is no folder."""
    warnings = []
    if path.is_symlink() and path.lstat().st_uid == os.getuid():  # root's own links are the administrator's
        warnings.append(f"{path} is a symbolic link to {path.resolve()}: name the folder itself")
    try:
        found = path.stat()
        mode = found.st_mode
        above = path.absolute().parent.stat().st_mode
    except OSError:
        return warnings
    if mode & stat.S_IWGRP:
        warnings.append(f"{path} may be written by its group")
    if mode & _OTHERS_READ:
        warnings.append(f"{path} may be read by every user of this machine")
    if found.st_uid not in (0, os.getuid()):
        warnings.append(f"{path} belongs to another user")
    if above & _OTHERS_WRITE and not above & stat.S_ISVTX:
        warnings.append(f"{path} may be exchanged by every user of this machine, who may write {path.parent}")
    return warnings


def file_warnings(path: Path, what: str) -> list[str]:
    """What lets other users read or change a file that holds a secret; empty also where it cannot be looked at.

    Args:
        what: names it, as a setting does.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return []
    may = [word for word, bit in (("read", stat.S_IROTH), ("written", stat.S_IWOTH)) if mode & bit]
    return [f"{what}: {path} may be {' and '.join(may)} by every user of this machine"] if may else []


def open_lock(path: Path) -> int:
    """A descriptor of a file that is made if it is missing; nothing is read or cut off.

    Raises:
        UnsafeFile: it is a symbolic link or no file.
        OSError: it cannot be opened.
    """
    refuse_link(path)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnsafeFile(f"{path} is no file")
    return descriptor


def read_secret(path: Path) -> bytes | None:
    """The content of a small file that holds a secret; None: there is no such file.

    Raises:
        UnsafeFile: it is a symbolic link, no file or too long, or others may write it.
        OSError: it cannot be read.
    """
    refuse_link(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise UnsafeFile(f"{path} is no file")
        if found.st_mode & _OTHERS_WRITE:
            raise UnsafeFile(f"{path} may be written by every user of this machine: chmod 600 {path}")
        content = file.read(SECRET_BYTES + 1)
    if len(content) > SECRET_BYTES:
        raise UnsafeFile(f"{path} is longer than {SECRET_BYTES} bytes")
    return content


def write_secret(path: Path, content: bytes) -> None:
    """Write a file for its owner alone: whole or not at all, over whatever stood there.

    Raises:
        OSError: it cannot be written.
    """
    draft = path.with_name(f".{path.name}")
    draft.unlink(missing_ok=True)  # of a process that was killed, or somebody's link
    descriptor = os.open(draft, _NEW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    draft.replace(path)
