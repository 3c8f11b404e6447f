"""The page of the settings: no secret, and the source of each value."""

from pathlib import Path

from redis.asyncio import Redis

from gateway.console.settings_page import DEFAULT, HIDDEN, setting_rows, shown
from gateway.settings import Secret, Settings, load
from gateway.settings.model import Source
from tests.gateway.console.harness import open_console

FILE = """
:sources:
  Product: {:push_notify: 'true'}
:production:
  :redis: localhost:6379
  :api_token: the-api-token
  :push_server: http://app:password@localhost:8675/
  :gateway:
    limits: {body_bytes: 1000}
    apps: {com.example.a: {apns: {environment: sandbox}}}
"""


def rows(tmp_path: Path, environ: dict[str, str]) -> dict[str, tuple[str, str]]:
    file = tmp_path / "settings.yml"
    file.write_text(FILE)
    found = setting_rows(load(file, "production", environ))
    return {row["name"]: (row["value"], row["origin"]) for row in found}


def test_each_value_has_its_source(tmp_path: Path) -> None:
    found = rows(tmp_path, {"RHOPUSH_DRAIN_S": "7"})
    assert found["limits.body_bytes"][0] == "1000"
    assert found["limits.body_bytes"][1].endswith("settings.yml, line 9")
    assert found["drain_s"] == ("7.0", "environment variable RHOPUSH_DRAIN_S")
    assert found["limits.queue_pings"] == ("1000000", DEFAULT)
    assert found["apps.com.example.a.apns.environment"][0] == "sandbox"
    assert found["sources.Product.push_notify"][0] == "true"


def test_every_name_is_one_that_the_documentation_explains() -> None:
    text = (Path(__file__).parents[3] / "docs" / "settings.md").read_text()
    names = {row["name"] for row in setting_rows(Settings())}
    assert "apns.topic" in names
    assert {name for name in names if f"`{name}`" not in text and f"`:{name}:`" not in text} == set()


def test_no_secret_is_shown(tmp_path: Path) -> None:
    found = rows(tmp_path, {"PSWRD": "the-password"})
    assert found["api_token"][0] == found["redis"][0] == found["admin_password"][0] == HIDDEN
    assert found["push_server"][0] == HIDDEN
    text = str(found)
    for secret in ("the-api-token", "the-password", "app:password"):
        assert secret not in text


def test_values_are_shown_as_text_without_secrets() -> None:
    values = (None, True, 1.5, (), ("a", "b"), Secret("x"), Path("/x"), object(), "x" * 1_000)
    assert [shown(value) for value in values[:-1]] == [
        "none",
        "true",
        "1.5",
        "none",
        "a, b",
        HIDDEN,
        "/x",
        HIDDEN,
    ]
    assert len(shown(values[-1])) == 400


def test_a_url_is_shown_without_credentials_and_query() -> None:
    assert shown("https://collector.example:4318/v1/traces") == "https://collector.example:4318/v1/traces"
    assert shown("http://app:pass@word@host/a?key=secret") == f"http://{HIDDEN}@host/a?{HIDDEN}"


async def test_the_page_shows_them_escaped(redis_client: Redis, redis_address: str) -> None:
    settings = Settings(sources={"<script>x</script>": Source()}, warnings=("<b>beware</b>",))
    async with (
        open_console(redis_client, redis_address, settings=settings) as console,
        console.operator() as browser,
    ):
        status, text = await browser.get("/console/settings?all")
        assert "&lt;script&gt;x" not in (await browser.get("/console/settings"))[1]  # a default
    assert status == 200
    assert "<script>x" not in text
    assert "&lt;script&gt;x" in text
    assert "&lt;b&gt;beware" in text
