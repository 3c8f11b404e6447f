"""Addresses of an app at FCM: the id of a Firebase installation (FID), or a registration token.

- A FID has 22 characters of base64url whose first four bits are 0111, so it begins with c, d, e or f
  (firebase-js-sdk, `packages/installations/src/helpers/generate-fid.ts`; firebase-android-sdk,
  `RandomFidGenerator`).
- An app that is older than installations continues to use its Instance ID of 11 characters as its FID
  (firebase-android-sdk, `IidStore`, pull requests 1096 and 1099).
- A registration token is its installation's FID, a colon, and more, usually `APA91b...` (firebase-admin-java, pull
  request 1211).

FCM's REST reference (`projects.messages`) has `fid` beside the deprecated `token`; a message has exactly one of
them. At present FCM accepts a FID in `token`, too, but no token in `fid`. A FID of 11 characters is therefore sent
as `token`, since any short text could look like one.
"""

import re
from typing import Final

FID_CHARACTERS: Final = 22
_FID: Final = re.compile(r"[cdef][A-Za-z0-9_-]{21}")
_INSTALLATION: Final = re.compile(r"([cdef][A-Za-z0-9_-]{10}(?:[A-Za-z0-9_-]{11})?):")


def is_fid(pin: str) -> bool:
    """Whether a device registered by the id of its installation."""
    return len(pin) == FID_CHARACTERS and _FID.fullmatch(pin) is not None


def installation(pin: str) -> str:
    """The FID at the beginning of a registration token, so that both name one installation; any other text
    unchanged."""
    found = _INSTALLATION.match(pin) if ":" in pin else None
    return pin if found is None else found[1]
