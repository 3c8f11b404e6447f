"""Login: credentials, attempts, a new id for each session, and the CSRF token of its form."""

import html
import re

import pytest
from redis.asyncio import Redis
from yarl import URL

from gateway.console.identities import Identities
from gateway.errors import TooManyRequests
from gateway.registry.login_limits import PAIR_ATTEMPTS
from gateway.settings import Settings
from gateway.settings.model import HttpSettings
from tests.gateway.console.harness import Console, open_console
from tests.gateway.http_api.harness import TOKEN
from tests.support.rhoconnect import lay_user


async def add_admin(redis: Redis, login: str, password: str) -> None:
    await lay_user(redis, login, password=password)
    await redis.set(f"user:{login}:admin", "1")


async def test_without_a_session_each_page_leads_to_the_login(console: Console) -> None:
    async with console.browser() as browser:
        for path in (
            "/console",
            "/console/ping",
            "/console/pings/abc",
            "/console/settings",
            "/console/audit",
        ):
            headers = await browser.headers(path)
            assert headers["Location"] == f"/console/login?next={path}"


async def test_the_api_token_begins_a_session(console: Console) -> None:
    async with console.browser() as browser:
        assert await browser.log_in(token=TOKEN) == (303, "/console")
        status, text = await browser.get("/console")
        assert status == 200
        assert "Overview" in text
        assert "api_token" in text


@pytest.mark.parametrize("fields", [{"token": "wrong"}, {"token": ""}, {"login": "eve", "password": "x"}])
async def test_wrong_credentials_begin_none(console: Console, fields: dict[str, str]) -> None:
    async with console.browser() as browser:
        assert (await browser.log_in(**fields))[0] == 401
        assert await console.session_keys() == []
        assert (await browser.get("/console"))[0] == 303


async def test_an_admin_logs_in_with_a_password_and_another_user_does_not(
    console: Console, redis_client: Redis
) -> None:
    await add_admin(redis_client, "root", "secret")
    await lay_user(redis_client, "bob", password="secret")
    async with console.browser() as browser:
        assert (await browser.log_in(login="bob", password="secret"))[0] == 401
        assert (await browser.log_in(login="root", password="wrong"))[0] == 401
        assert (await browser.log_in(login="root", password="secret"))[0] == 303
        assert "root" in (await browser.get("/console"))[1]


async def test_the_cookie_is_not_available_to_scripts_and_other_sites(console: Console) -> None:
    async with console.browser() as browser:
        csrf = await browser.csrf("/console/login")
        answer = await browser.session.post(
            "/console/login", data={"csrf": csrf, "token": TOKEN}, allow_redirects=False
        )
        cookies = answer.headers.getall("Set-Cookie")
        (session,) = [one for one in cookies if one.startswith("rhopush_console=")]
        for part in ("HttpOnly", "SameSite=Strict", "Path=/console", "Max-Age=43200"):
            assert part in session
        assert "Secure" not in session
        assert TOKEN not in session


async def test_behind_tls_the_cookie_is_sent_over_tls_alone(redis_client: Redis, redis_address: str) -> None:
    settings = Settings(http=HttpSettings(trusted_proxies=("127.0.0.1",)))
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.1"}
    async with (
        open_console(redis_client, redis_address, settings=settings) as console,
        console.browser(headers=headers) as one,
        one.session.get("/console/login") as answer,
    ):
        assert all("Secure" in cookie for cookie in answer.headers.getall("Set-Cookie"))


async def test_a_login_ignores_a_session_id_of_the_browser(console: Console) -> None:
    planted = "planted-by-an-attacker"
    async with console.browser() as browser:
        browser.session.cookie_jar.update_cookies({"rhopush_console": planted})
        await browser.log_in(token=TOKEN)
        assert browser.cookies["rhopush_console"] != planted
        assert len(await console.session_keys()) == 1
    async with console.browser(cookies={"rhopush_console": planted}) as attacker:
        assert (await attacker.get("/console"))[0] == 303


async def test_a_second_login_ends_the_first_session(console: Console) -> None:
    async with console.operator() as browser:
        first = browser.cookies["rhopush_console"]
        await browser.log_in(token=TOKEN)
        assert browser.cookies["rhopush_console"] != first
        assert len(await console.session_keys()) == 1


async def test_a_login_form_without_its_token_is_refused(console: Console) -> None:
    async with console.browser() as browser:
        for data in ({"token": TOKEN}, {"token": TOKEN, "csrf": ""}, {"token": TOKEN, "csrf": "other"}):
            assert (await browser.post("/console/login", data=data))[0] == 403
        csrf = await browser.csrf("/console/login")
        from_elsewhere = {"Sec-Fetch-Site": "cross-site"}
        fields = {"token": TOKEN, "csrf": csrf}
        assert (await browser.post("/console/login", data=fields, headers=from_elsewhere))[0] == 403
        assert await console.session_keys() == []


async def test_attempts_are_limited(console: Console) -> None:
    async with console.browser() as browser:
        for _ in range(PAIR_ATTEMPTS):
            assert (await browser.log_in(token="wrong"))[0] == 401
        assert (await browser.log_in(token=TOKEN))[0] == 429


@pytest.mark.parametrize(
    "back",
    [
        *(
            "https://evil.example/",
            "//evil.example",
            "/console/../x",
            "javascript:x",
            "/rc/v1",
            "/console/..",
        ),
        *("/console/%2e%2E/x", "/console/.%2e?x", "/console/./x", "/console//evil.example", "/consolex"),
        *(
            "/console\\evil",
            "/console?x\r\nA: b",
            "/console@evil.example",
            "/console/x#y",
            "/console?" + "x" * 3_000,
        ),
    ],
)
async def test_a_login_leads_to_no_other_site(console: Console, back: str) -> None:
    async with console.browser() as browser:
        assert await browser.log_in(token=TOKEN, next=back) == (303, "/console")


async def test_a_login_leads_to_the_requested_page(console: Console) -> None:
    async with console.browser() as browser:
        assert await browser.log_in(token=TOKEN, next="/console/pings/abc") == (303, "/console/pings/abc")


async def test_a_logout_ends_the_session_for_copies_of_its_cookie_too(console: Console) -> None:
    async with console.operator() as browser:
        copied = browser.cookies["rhopush_console"]
        assert (await browser.post("/console/logout", data={"csrf": "wrong"}))[0] == 403
        status, location, _ = await browser.submit("/console", "/console/logout", {})
        assert (status, location) == (303, "/console/login")
    async with console.browser(cookies={"rhopush_console": copied}) as thief:
        assert (await thief.get("/console"))[0] == 303


async def test_logins_are_in_the_audit(console: Console) -> None:
    async with console.browser() as browser:
        await browser.log_in(token="wrong")
        await browser.log_in(token=TOKEN)
        text = (await browser.get("/console/audit"))[1]
        assert "not_authenticated" in text or "login_refused" in text
        assert "done" in text


async def test_a_login_that_is_not_checked_is_in_the_audit(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def busy(*_: object) -> None:
        raise TooManyRequests("too many failed logins")

    monkeypatch.setattr(Identities, "log_in_by_token", busy)
    async with console.browser() as browser:
        assert (await browser.log_in(token=TOKEN))[0] == 429
    log = console.api.services.audit_log
    assert log is not None
    assert [one["outcome"] for one in (await log.page())["records"]] == ["too_many_requests"]


async def test_the_forms_of_two_tabs_are_both_accepted(console: Console) -> None:
    async with console.browser() as browser:
        first, second = await browser.csrf("/console/login"), await browser.csrf("/console/login")
        assert first == second
        assert (await browser.post("/console/login", data={"csrf": first, "token": "wrong"}))[0] == 401
        assert (await browser.post("/console/login", data={"csrf": second, "token": TOKEN}))[0] == 303


@pytest.mark.parametrize("planted", ["", "x", "x" * 44, "é" * 43, "'" * 43, '"><script>'])
async def test_a_cookie_of_another_form_is_not_the_token_of_the_login(console: Console, planted: str) -> None:
    async with console.browser(headers={"Cookie": f"rhopush_console_login={planted}"}) as browser:
        assert await browser.csrf("/console/login") != planted


@pytest.mark.parametrize(
    "path",
    [
        "/console/users?prefix=a%26b&cursor=7",
        "/console/users/bob%40example.com",
        "/console/users/bob@example.com",
        "/console/users/%3Cb%3E",
        "/console/users/a%2Fb",
        "/console/users/..bob",
        "/console/devices/c1?cursor=2000",
        "/console/settings?all",
        "/console/pings?state=done",
        "/console/",
    ],
)
async def test_a_login_leads_back_to_any_page_with_its_query(console: Console, path: str) -> None:
    async with console.browser() as browser:
        location = (await browser.headers(URL(path, encoded=True)))["Location"]
        form = (await browser.get(URL(location, encoded=True)))[1]
        back = re.search(r'name="next" value="([^"]+)"', form)
        assert back
        assert await browser.log_in(token=TOKEN, next=html.unescape(back[1])) == (303, path)


async def test_a_refusal_for_a_while_says_when_to_try_again(console: Console) -> None:
    async with console.browser() as browser:
        for _ in range(PAIR_ATTEMPTS):
            await browser.log_in(token="wrong")
        data = {"csrf": await browser.csrf("/console/login"), "token": TOKEN}
        async with browser.session.post("/console/login", data=data) as answer:
            assert answer.status == 429
            assert int(answer.headers["Retry-After"]) > 0
