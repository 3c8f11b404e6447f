"""Types that several sections use: bounded numbers, and the formats of addresses."""

from typing import Annotated, Final

from msgspec import Meta

Port = Annotated[int, Meta(ge=1, le=65535)]
PortOrAny = Annotated[int, Meta(ge=0, le=65535)]
ORIGIN_PATTERN: Final = "^https?://[^/?#]+/?$"
URL_PATTERN: Final = "^https?://[^/?#]+"
PositiveInt = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(ge=0)]
PositiveSeconds = Annotated[float, Meta(gt=0)]
