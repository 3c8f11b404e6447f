"""`rhopush audit`: its pages and rows. `test_tokens` runs it against a gateway."""

from collections.abc import Mapping
from typing import Any, cast

from gateway.cli.audit import _records, _row
from gateway.client.sync_client import SyncClient


class Pages:
    """Answers with pages of two records."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.asked: list[Mapping[str, Any]] = []

    def admin(self, method: str, path: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        assert (method, path) == ("GET", "/rc/v1/admin/audit")
        self.asked.append(parameters)
        first = int(parameters["cursor"] or 0)
        last = min(first + min(2, parameters["limit"]), self.count)
        return {
            "records": [{"number": number} for number in range(first, last)],
            "next_cursor": str(last) if last < self.count else None,
        }


def test_pages_follow_their_cursors_up_to_the_limit() -> None:
    for limit, expected in ((10, 5), (3, 3), (2, 2)):
        pages = Pages(5)
        found = [*_records(cast(SyncClient, pages), "2030-01-01T00:00:00Z", limit)]
        assert [one["number"] for one in found] == list(range(expected))
        assert {one["since"] for one in pages.asked} == {"2030-01-01T00:00:00Z"}


def test_omitted_logins_are_in_the_row() -> None:
    record = {
        "at": "t",
        "who": "bob",
        "kind": "login",
        "client": "c",
        "action": "login",
        "outcome": "login_refused",
    }
    assert _row(record | {"omitted": 0})[-1] == "login_refused"
    assert _row(record | {"omitted": 7})[-1] == "login_refused (and 7 refused logins before it)"
