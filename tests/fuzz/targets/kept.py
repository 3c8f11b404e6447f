"""Files in the data folder, which others may have written or a disk may have damaged."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from gateway.mailbox.store import read_id_secret
from gateway.server.data_dir import ID_FILE, DataDir, check_data_dir
from gateway.store.command_encoding import pack
from gateway.system.private_files import read_secret
from protocols.rhoconnect_push.ids import Ids
from tests.fuzz.target import Step, Target

_NAMES: Final = ("gateway_id", "api_token", ID_FILE)


@contextmanager
def _folder() -> Iterator[Step]:
    """One content in each file, since each reader must cope with it."""
    with tempfile.TemporaryDirectory() as path:
        folder = DataDir(Path(path))

        def step(data: bytes) -> None:
            for name in _NAMES:
                (folder.path / name).write_bytes(data)
            check_data_dir(folder.path)
            kept = read_secret(folder.path / ID_FILE)
            secret = read_id_secret((kept or b"").strip())
            if secret is not None:
                Ids(secret).cookie("an instance")
            for read in (folder.gateway_id, folder.api_token):
                text = read()
                assert text
                assert text == read(), "what is kept stays"
                pack(("SET", text))

        yield step


TARGETS: Final = (
    Target(
        "data-folder",
        _folder,
        (
            b"",
            b"0123456789abcdef\n",
            b"ab" * 32 + b"\n",
            b"a token of an operator\r\n",
            b"\xef\xbb\xbf" + b"0" * 32,
        ),
        (b"\n", b"\0", b"\xff", b" "),
        largest=8_192,
    ),
)
