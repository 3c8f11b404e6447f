"""The request of every measurement: the ping of RhoConnect's Ruby example, each with users of its own."""

from typing import Final

CALLER_KEY: Final = "benchmark"
"""The API token of every measured gateway."""
PATH: Final = "/rc/v1/users/ping"
USER: Final = "u%07d"
"""Names of the registered users, by number: all of one length, so that all requests have the same length."""

_BODY: Final = (
    '{"api_token":"%s","user_id":[%s],"sources":"Product",'
    '"message":"Order %%07d is on its way","vibrate":2000,"sound":"hello.mp3"}'
)
_GORUSH: Final = (
    '{"tokens":["%s"],"platform":1,"message":"Order %s is on its way","topic":"%s","sound":"hello.mp3"}'
)
_PIN_DIGITS: Final = 64
_TRACE: Final = "traceparent: 00-4bf92f3577b34da6a3ce929d0%07d-00f067aa0%07d-00\r\n"
"""A trace of the caller's own, which the caller does not record; decimal digits are hexadecimal ones too."""
_HEAD: Final = (
    "POST {path} HTTP/1.1\r\n"
    "Accept: */*\r\n"
    "User-Agent: rest-client/2.1.0 (linux x86_64) ruby/3.1.2p20\r\n"
    "Content-Type: application/json\r\n"
    "X-Rhoconnect-Api-Token: {token}\r\n"
    "{trace}"
    "Content-Length: {length}\r\n"
    "Host: 127.0.0.1\r\n\r\n"
)


def ping_template(
    token: str = CALLER_KEY, *, wait: bool = False, named: int = 1, traced: bool = False
) -> str:
    """A complete request with `%07d` placeholders: for the numbers of its users, then for the ping's.

    Args:
        token: the caller's token.
        wait: whether the response is sent when the last verdict is recorded, not when the ping is durable.
        named: number of users that it names.
        traced: whether it has a header `traceparent` with two further placeholders, before all others: both for the
            ping's number.
    """
    body = _BODY % (token, ",".join(['"u%07d"'] * named))
    if wait:
        body = body[:-1] + ',"wait":true}'
    return _head(PATH, token, len(body % ((0,) * (named + 1))), _TRACE if traced else "") + body


def gorush_template(topic: str, notifications: int) -> str:
    """A complete request to gorush's `/api/push` with the same two placeholders; the other notifications are always
    the same."""
    first = _GORUSH % ("%07d".rjust(_PIN_DIGITS - 7 + 4, "0"), "%07d", topic)
    others = (
        _GORUSH % (f"f{index:0{_PIN_DIGITS - 1}x}", "0000000", topic) for index in range(1, notifications)
    )
    body = '{"notifications":[' + ",".join((first, *others)) + "]}"
    return _head("/api/push", CALLER_KEY, len(body % (0, 0))) + body


def broadcast(users: int, token: str = CALLER_KEY, note: str = "Closed on Monday") -> bytes:
    """One complete request for the users 0 to `users` - 1."""
    names = ",".join(f'"{USER % number}"' for number in range(users))
    body = f'{{"user_id":[{names}],"sources":"Product","message":"{note}","sound":"hello.mp3"}}'
    return (_head(PATH, token, len(body)) + body).encode()


def everybody(token: str = CALLER_KEY, note: str = "Closed on Monday") -> bytes:
    """One complete request for all users, with the content of `broadcast`."""
    body = f'{{"to":{{"all_users":true}},"sources":"Product","message":"{note}","sound":"hello.mp3"}}'
    return (_head(PATH, token, len(body)) + body).encode()


def _head(path: str, token: str, length: int, trace: str = "") -> str:
    return _HEAD.format(path=path, token=token, length=length, trace=trace)
