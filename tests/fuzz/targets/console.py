"""The console with a valid session: what comes back is never a 500, and no input becomes part of a page's code.

Each input is one connection, as for the other servers. `@S@` and `@C@` in it stand for the session's cookie and its
CSRF token.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from redis.asyncio import Redis

from gateway.console.sessions import COOKIE, ConsoleSessions
from gateway.console.streams import LiveStreams
from tests.fuzz.target import Target
from tests.fuzz.targets import servers
from tests.gateway.console.harness import open_console
from tests.gateway.http_api.harness import TOKEN

_XSS: Final = "%22%3E%3Cscript%3Ealert(1)%3C/script%3E"
_INLINE: Final = re.compile(rb"<script>|<script src=[^\"]|<img|onerror=[^ ]|javascript:", re.IGNORECASE)
_PAGES: Final = (
    *("", "/login?next=/console/ping", "/ping?users=bob", "/pings?state=done&cursor=x", f"/pings/{'0' * 32}"),
    *("/pings/find?ping_id=x", f"/users?prefix={_XSS}&cursor=5", "/users/bob", "/lanes", "/settings", "/api"),
    *(
        "/tokens",
        "/audit?cursor=1-1",
        "/series/5s",
        "/users/search?prefix=b",
        "/static/x/theme.js",
        "/webhooks",
        "/devices/phone?cursor=5",
        "/alive",
        "/nowhere",
    ),
)
_FORMS: Final = (
    ("/login", f"csrf=x&token={TOKEN}&login=&password=&next=/console"),
    ("/ping", "csrf=@C@&users=bob,eve&message=x&badge=1&sources[]=A&nonce=n&action=send&deliver_at=&ttl_s="),
    ("/ping", f"csrf=@C@&users={_XSS}&title={_XSS}&badge=x&further_sources=a,b&action=explain"),
    ("/ping", f"csrf=@C@&users=&all_users=true&devices={_XSS}&apps=a&priority=high&action=explain"),
    ("/webhooks/test", f"csrf=@C@&name={_XSS}"),
    ("/webhooks/replay", "csrf=@C@&name=crm&since=5"),
    ("/tokens", f"csrf=@C@&name={_XSS}&scopes[]=read&scopes[]=ping&apps=a,b&expires_at=5"),
    ("/tokens/revoke", "csrf=@C@&name=ci"),
    ("/users/bob/restore", "csrf=@C@&client_id=c1"),
    ("/lanes/reset", "csrf=@C@&lane=apns"),
    (f"/pings/{'0' * 32}/cancel", "csrf=@C@"),
)


def _head(line: str, length: int) -> bytes:
    kind = "Content-Type: application/x-www-form-urlencoded\r\n" if length else ""
    cookies = f"Cookie: {COOKIE}=@S@; rhopush_console_login=x\r\n"
    return f"{line} HTTP/1.1\r\nHost: gateway\r\n{cookies}{kind}Content-Length: {length}\r\n\r\n".encode()


SEEDS: Final = (
    *(_head(f"GET /console{path}", 0) for path in _PAGES),
    *(_head(f"POST /console{path}", len(body)) + body.encode() for path, body in _FORMS),
)
WORDS: Final = (
    *(
        b"csrf=@C@&",
        b"[]=",
        b"%00",
        b"%ff",
        b"%0d%0a",
        b"\xff",
        b"&",
        b"users=",
        b"<script>alert(1)</script>",
    ),
    *(
        b"Cookie: ",
        b"rhopush_console=@S@",
        b"Sec-Fetch-Site: cross-site\r\n",
        b"/console/",
        b"%2e%2e/",
        b"?cursor=",
    ),
)


@asynccontextmanager
async def _console(redis: Redis, address: str) -> AsyncIterator[servers.Ask]:
    kept = LiveStreams.__init__.__defaults__
    LiveStreams.__init__.__defaults__ = (0,)  # a live page has no end, which each input must have
    try:
        async with open_console(redis, address) as console:
            sessions = ConsoleSessions(redis)

            async def ask(data: bytes) -> None:
                session_id = await sessions.begin("api_token", "", TOKEN)
                session = await sessions.read(session_id)
                assert session is not None
                data = data.replace(b"@S@", session_id.encode()).replace(b"@C@", session.csrf.encode())
                answer = await servers.exchange(console.api.port, data, lambda: False)
                servers.judge(answer)
                for one in answer.split(b"HTTP/1.1 "):
                    assert b"text/html" not in one or not _INLINE.search(one), one[:2_000]
                await sessions.end(session_id)
                console.api.queue.pings.clear()

            yield ask
    finally:
        LiveStreams.__init__.__defaults__ = kept


TARGETS: Final = (
    Target("console", servers.served(_console), SEEDS, WORDS, base_s=0.5, byte_s=1e-5, weight=3.0),
)
