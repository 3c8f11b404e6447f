"""Longest value of each parameter of a ping, and the limits of a whole ping besides its users.

Every limit is far beyond the capacity of a provider (APNs: 4,096 bytes, 5,120 for VoIP; FCM: 4,096 bytes; a
RhoConnect Push message: 65,536 bytes); it only bounds the cost of parsing, queueing and composing a ping.

| parameter | longest, in characters | reason |
| --- | --- | --- |
| message, apns, fcm | 65,536, for objects all names, texts and values together | the largest message of any device |
| title | 16,384 | a part of a payload of 5,120 bytes |
| sound | 1,024 | a file's name (NAME_MAX of Linux: 255) |
| collapse_id | 64 bytes | apns-collapse-id; see `protocols.ping.fields` |
| user_id: each login | 1,024 | longest login that the gateway registers |
| sources, source_id: each name, and all together | 1,024, and 65,536 | as a login, and as a message |
| badge, vibrate, ttl_s, priority, async, wait, deliver_at | 256 | a number or a word |
| to | 65,536 as a text; a list 1,000 items, a token 4,096, a name 1,024 | it is stored with its ping |
| api_token | 65,536 | a longer one than any that exists is an unknown token |
"""

from typing import Final

from protocols.errors import InvalidField

MESSAGE_CHARACTERS: Final = 65_536
NAME_CHARACTERS: Final = 1_024
SOURCES_CHARACTERS: Final = 65_536
WORD_CHARACTERS: Final = 256
VALUE_CHARACTERS: Final = 65_536
"""Longest value of any parameter."""
TEXTS: Final = {"title": 16_384, "sound": 1_024}
NAMES_MAX: Final = 1_024
"""Most different parameters of one request. A ping has eighteen."""
DEPTH_MAX: Final = 64
"""Most levels of lists and objects in a JSON body: far below the limits of any decoder or encoder (orjson: 254)."""
PAIRS_MAX: Final = 10_000
"""Most pairs of a form, besides those of the list of users (`user_id[]=bob`)."""


def too_long(field: str, most: int, unit: str = "characters") -> InvalidField:
    """Make the error for a value over its limit."""
    return InvalidField(f"{field} may have at most {most} {unit}", field=field)


def bounded(value: str, field: str, most: int) -> str:
    """Return a text unchanged if it is not too long, else raise InvalidField."""
    if len(value) > most:
        raise too_long(field, most)
    return value


def is_deeper(value: object, most: int = DEPTH_MAX) -> bool:
    """Whether lists and objects are nested deeper than `most` levels. Without recursion."""
    level = [value]
    for _ in range(most + 1):
        below: list[object] = []
        for item in level:
            if type(item) is dict:
                below.extend(item.values())
            elif type(item) is list:
                below.extend(item)
        if not below:
            return False
        level = below
    return True
