"""URLs of endpoints."""

import pytest

from protocols.errors import InvalidField
from protocols.webhooks.target import Target, TargetKind, target_of


@pytest.mark.parametrize(
    ("url", "found"),
    [
        (
            "https://crm.example.com:8443/a?token=secret",
            (
                TargetKind.HTTP,
                "https://crm.example.com:8443/a?token=secret",
                "https://crm.example.com:8443/a",
            ),
        ),
        (
            "http://127.0.0.1:80/x",
            (TargetKind.HTTP, "http://127.0.0.1:80/x", "http://127.0.0.1:80/x"),
        ),
        ("http://[::1]/x", (TargetKind.HTTP, "http://[::1]/x", "http://[::1]/x")),
        ("redis-stream://push-events", (TargetKind.STREAM, "push-events", "redis-stream://push-events")),
        ("redis-stream://a:b", (TargetKind.STREAM, "a:b", "redis-stream://a:b")),
        ("file:///var/log/a%20b", (TargetKind.FILE, "/var/log/a b", "file:///var/log/a%20b")),
    ],
)
def test_a_url_names_its_kind(url: str, found: tuple[TargetKind, str, str]) -> None:
    assert target_of(url) == Target(*found)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "crm.example.com",
        "ftp://crm.example.com/",
        "https://",
        "https://host:0/",
        "https://host:99999/",
        "https://user:password@host/",
        "https://host/#part",
        "http://crm.example.com/",
        "http://10.0.0.1/",
        "redis-stream://",
        "redis-stream://rhopush:{q}:pings",
        "redis-stream://rhopush%3Ax",
        "file://host/path",
        "file://relative",
        "file:///",
        "file:///a%00b",
        "https://[::1/",
        "https://crm.example.com/a b",
        "https://crm.example.com/\n",
        "http://localhost\t.example.com/",
        "http://127.1/",
        "http://[::ffff:10.0.0.1]/",
    ],
)
def test_other_urls_are_refused_without_being_shown(url: str) -> None:
    with pytest.raises(InvalidField) as caught:
        target_of(url)
    assert "password" not in caught.value.message.replace("a password", "")


def test_http_to_another_machine_must_be_allowed() -> None:
    assert target_of("http://crm.example.com/", insecure=True).kind is TargetKind.HTTP
