"""The cache of positive answers about users and apps, and the requests to RhoConnect."""

import logging

import pytest

from gateway.rhoconnect_push.auth import (
    LINE_BYTES_MAX,
    Authenticator,
    AuthServiceDown,
    RhoConnectAuthenticator,
)
from tests.gateway.rhoconnect_push.harness import APP, SESSION, USER, House, basic, rhoconnect
from tests.support.ports import free_port


class Judge:
    """Counts the questions, and gives the configured answers."""

    def __init__(self) -> None:
        self.asked: list[object] = []
        self.good = True
        self.now_s = 0.0

    async def user(self, cookies: str, authorization: str | None, client: str) -> bool:
        self.asked.append((cookies, authorization))
        return self.good

    async def app(self, authorization: str, client: str) -> bool:
        self.asked.append(authorization)
        return self.good

    def gates(self) -> Authenticator:
        return Authenticator(self.user, self.app, app_s=60.0, user_s=10.0, clock=lambda: self.now_s)


async def test_a_positive_answer_about_an_app_is_cached_for_its_lifetime() -> None:
    judge = Judge()
    gates = judge.gates()
    assert not gates.is_app_cached("Basic x")
    assert await gates.app("Basic x")
    judge.now_s = 59.9
    assert gates.is_app_cached("Basic x")
    assert await gates.app("Basic x")
    assert len(judge.asked) == 1
    judge.now_s = 60.0  # use does not extend the lifetime: a withdrawn password stops working
    assert not gates.is_app_cached("Basic x")
    judge.good = False
    assert not await gates.app("Basic x")
    assert len(judge.asked) == 2


async def test_the_key_of_a_cached_user_ignores_the_instance_cookie() -> None:
    judge = Judge()
    gates = judge.gates()
    assert await gates.user("s=1", "Basic x")
    assert await gates.user("instance=a:b,s=1", "Basic x")
    assert await gates.user("instance=c:d; s=1", "Basic x")
    assert judge.asked == [("s=1", "Basic x")]
    for cookies, authorization in (("s=2", "Basic x"), ("s=1", "Basic y"), ("s=1", None)):
        await gates.user(cookies, authorization)
    assert len(judge.asked) == 4
    judge.now_s = 10.0
    await gates.user("instance=a:b,s=1", "Basic x")
    assert judge.asked[-1] == ("instance=a:b; s=1", "Basic x")


async def test_a_negative_answer_is_not_cached() -> None:
    judge = Judge()
    judge.good = False
    gates = judge.gates()
    for _ in range(2):
        assert not await gates.user("s=1", None)
    assert len(judge.asked) == 2


async def test_the_clients_own_headers_are_sent_to_rhoconnect() -> None:
    async with rhoconnect() as judge:
        users = RhoConnectAuthenticator(f"{judge.url}/rc/v1/app/rps_login")
        apps = RhoConnectAuthenticator(f"{judge.url}/rc/v1/system/rps_login")
        assert await users.user(f"instance=a:b; {SESSION}", basic(USER))
        assert not await users.user("", None)
        assert await apps.app(basic(APP))
        assert not await apps.app(basic("other"))
        assert not await apps.app("Basic x\r\nEvil: y")
        assert [question[1:] for question in judge.asked] == [
            (f"instance=a:b; {SESSION}", basic(USER)),
            ("", ""),
            ("", basic(APP)),
            ("", basic("other")),
        ]
        await users.close()
        await apps.close()


async def test_a_header_beyond_the_limit_of_web_servers_is_not_sent_to_rhoconnect(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with rhoconnect() as judge:
        users = RhoConnectAuthenticator(f"{judge.url}/rc/v1/app/rps_login")
        apps = RhoConnectAuthenticator(f"{judge.url}/rc/v1/system/rps_login")
        longest = SESSION + "; a=" + "x" * (LINE_BYTES_MAX - len(f"Cookie: {SESSION}; a="))
        assert await users.user(longest, basic(USER))
        assert not await users.user(longest + "x", basic(USER))
        wide = longest[:-1] + "\ufffd"  # as many characters, of more bytes
        assert not await users.user(wide, basic(USER))
        assert not await users.user(SESSION, "Basic " + "x" * LINE_BYTES_MAX)
        assert not await apps.app("Basic " + "x" * LINE_BYTES_MAX)
        assert judge.asked == [("/rc/v1/app/rps_login", longest, basic(USER))]
        await users.close()
        await apps.close()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("header", ["Cookie", "Authorization"])
async def test_a_device_whose_header_rhoconnect_refuses_is_answered_401(
    service: House, header: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A request through the whole service; RhoConnect's web server would answer 400."""
    headers = {"Cookie": SESSION, "Authorization": basic(USER)}
    headers[header] += "x" * LINE_BYTES_MAX
    assert (await service.call("POST", "/instanceId", b"", **headers)).status == 401
    assert service.judge.asked == []
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_an_unreachable_rhoconnect_raises() -> None:
    authenticator = RhoConnectAuthenticator(f"http://127.0.0.1:{free_port()}/")
    with pytest.raises(AuthServiceDown) as caught:
        await authenticator.app("Basic secret")
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is not None
    await authenticator.close()
