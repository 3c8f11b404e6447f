"""The style sheets and scripts of the console: files of this package, and the style sheet of Bootstrap.

Each address contains a digest of all files, so that a browser may store them for a year and still gets the files of
another version.
"""

import asyncio
import gzip
import hashlib
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Final, NamedTuple

from aiohttp import hdrs, web
from bootstrap_wrapper import get_bootstrap_css_dir

from gateway.errors import NotFound
from protocols.response_headers import SAFETY_HEADERS

ASSETS_PATH: Final = "/console/static/{version}/{name}"
_TYPES: Final[Mapping[str, str]] = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_BOOTSTRAP: Final = "bootstrap.min.css"
_DIGEST_CHARACTERS: Final = 12
_NO_WEIGHT: Final = re.compile(r"[qQ]=0(\.0{0,3})?")
_COMPRESSED_BYTES: Final = 1_024
"""Shorter files are sent as they are."""


class Asset(NamedTuple):
    """One file.

    Attributes:
        content_type: its media type.
        body: its bytes.
    """

    content_type: str
    body: bytes


class Assets:
    """All files, in memory.

    Attributes:
        version: digest of all files.
    """

    def __init__(self) -> None:
        folder = resources.files("gateway.console") / "static"
        bodies = {one.name: one.read_bytes() for one in folder.iterdir() if Path(one.name).suffix in _TYPES}
        bodies[_BOOTSTRAP] = _without_map((Path(get_bootstrap_css_dir()) / _BOOTSTRAP).read_bytes())
        self._files = {name: Asset(_TYPES[Path(name).suffix], body) for name, body in bodies.items()}
        joined = b"\0".join(name.encode() + b"\0" + bodies[name] for name in sorted(bodies))
        self.version = hashlib.sha256(joined).hexdigest()[:_DIGEST_CHARACTERS]

    def address(self, name: str) -> str:
        """Return the address of a file. Raises KeyError: there is no such file."""
        if name not in self._files:
            raise KeyError(name)
        return ASSETS_PATH.format(version=self.version, name=name)

    async def answer(self, request: web.Request) -> web.Response:
        """Return a file. A relative import of a script has the version of the page in its address.

        Raises:
            NotFound: there is no such file.
        """
        asset = self._files.get(request.match_info["name"])
        if asset is None:
            raise NotFound("there is no such file")
        current = request.match_info["version"] == self.version
        headers = dict(SAFETY_HEADERS) | {
            hdrs.CONTENT_TYPE: asset.content_type,
            hdrs.CACHE_CONTROL: "public, max-age=31536000, immutable" if current else "no-cache",
            hdrs.VARY: hdrs.ACCEPT_ENCODING,
        }
        if len(asset.body) > _COMPRESSED_BYTES and _accepts_gzip(
            request.headers.get(hdrs.ACCEPT_ENCODING, "")
        ):
            headers[hdrs.CONTENT_ENCODING] = "gzip"
            return web.Response(body=await asyncio.to_thread(_compressed, asset.body), headers=headers)
        return web.Response(body=asset.body, headers=headers)


def _accepts_gzip(header: str) -> bool:
    """Return whether Accept-Encoding names gzip with a weight above 0 (RFC 9110, section 12.5.3)."""
    return any(
        coding.strip().lower() == "gzip" and not _NO_WEIGHT.fullmatch(weight.strip())
        for coding, _, weight in (part.partition(";") for part in header.split(","))
    )


@cache  # when first requested: most workers serve no page, and should not start later for them
def _compressed(body: bytes) -> bytes:
    return gzip.compress(body, mtime=0)


def _without_map(body: bytes) -> bytes:
    """Remove the reference to a source map, which the console does not serve."""
    return body.partition(b"/*# sourceMappingURL")[0]
