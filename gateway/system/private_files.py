"""Files and folders that other users of this machine must not replace or read.

They are opened without following a link, and checked before use. If a symbolic link replaces a secret, the user who
made it chooses the file that is read or overwritten. A folder that others may write allows them to create such a
link. Both are refused with an error that names the path. Files that others may only read are reported.
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
"""More bytes than any secret that the gateway stores in a file of its own."""


def refuse_link(path: Path) -> None:
    """Refuse a symbolic link.

    Raises:
        UnsafeFile: the path is a symbolic link.
    """
    if path.is_symlink():
        raise UnsafeFile(f"{path} is a symbolic link: it must be the file or folder itself")


def check_folder(path: Path) -> None:
    """Check a folder that holds secrets. A folder that cannot be read is skipped here: its use fails with its own
    error.

    A symbolic link to it is accepted if root made it, as systemd does for `DynamicUser` and `StateDirectory`, or
    this user.

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
    """Warnings if other users may read or replace a folder; empty also if the folder does not exist."""
    warnings = []
    # links made by root are the administrator's choice
    if path.is_symlink() and path.lstat().st_uid == os.getuid():
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
        warnings.append(
            f"{path} may be replaced by every user of this machine, since all may write to {path.parent}"
        )
    return warnings


def file_warnings(path: Path, what: str) -> list[str]:
    """Warnings if other users may read or change a file that holds a secret; empty also if it cannot be checked.

    Args:
        what: the name of the file in the warning, such as a setting.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return []
    may = [word for word, bit in (("read", stat.S_IROTH), ("written", stat.S_IWOTH)) if mode & bit]
    return [f"{what}: {path} may be {' and '.join(may)} by every user of this machine"] if may else []


def open_lock(path: Path) -> int:
    """Open a file for locking and return its descriptor; create it if it is missing, and never read or truncate it.

    Raises:
        UnsafeFile: it is a symbolic link or not a regular file.
        OSError: it cannot be opened.
    """
    refuse_link(path)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnsafeFile(f"{path} is not a regular file")
    return descriptor


def read_secret(path: Path) -> bytes | None:
    """The content of a small file that holds a secret; None: the file does not exist.

    Raises:
        UnsafeFile: it is a symbolic link, not a regular file or too long, or others may write it.
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
            raise UnsafeFile(f"{path} is not a regular file")
        if found.st_mode & _OTHERS_WRITE:
            raise UnsafeFile(f"{path} may be written by every user of this machine: chmod 600 {path}")
        content = file.read(SECRET_BYTES + 1)
    if len(content) > SECRET_BYTES:
        raise UnsafeFile(f"{path} is longer than {SECRET_BYTES} bytes")
    return content


def write_secret(path: Path, content: bytes) -> None:
    """Write a file for its owner alone, atomically, replacing any file at this path.

    Raises:
        OSError: it cannot be written.
    """
    draft = path.with_name(f".{path.name}")
    draft.unlink(missing_ok=True)  # left by a killed process, or a link of another user
    descriptor = os.open(draft, _NEW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    draft.replace(path)
