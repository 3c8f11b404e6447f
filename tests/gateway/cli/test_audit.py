"""`rhopush audit`: its pages and rows. `test_tokens` runs it against a gateway."""

from collections.abc import Mapping
from typing import Any

import pytest

from gateway.cli import main
from gateway.cli.audit import _row

RECORD = {
    "at": "t",
    "who": "bob",
    "kind": "login",
    "client": "c",
    "action": "login",
    "outcome": "done",
    "omitted": 0,
}
DEVICE = dict.fromkeys(
    ("client_id", "user_id", "provider", "app", "token", "reason", "since", "everywhere"), "x"
)
LISTS = {
    ("audit",): ("audit", "records", RECORD),
    ("dead", "list"): ("dead", "devices", DEVICE),
}


@pytest.mark.parametrize("words", LISTS, ids=" ".join)
@pytest.mark.parametrize(("limit", "shown"), [(10, 5), (5, 5), (3, 3), (2, 2)])
def test_pages_follow_their_cursors_up_to_the_limit_and_a_list_says_that_there_are_more(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    limit: int,
    shown: int,
) -> None:
    route, member, value = LISTS[words]
    asked: list[Mapping[str, Any]] = []

    def admin(_: object, method: str, path: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Answer with a page of two of five records."""
        assert (method, path) == ("GET", f"/rc/v1/admin/{route}")
        asked.append(parameters)
        first = int(parameters["cursor"] or 0)
        last = min(first + min(2, parameters["limit"]), 5)
        return {member: [value] * (last - first), "next_cursor": str(last) if last < 5 else None}

    monkeypatch.setattr("gateway.client.sync_client.SyncClient.admin", admin)
    options = ["--since", "2030-01-01T00:00:00Z", "--limit", str(limit), "--token", "hush"]
    assert main([*words, *options]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == shown
    assert err == (f"there are more: raise --limit from {limit}\n" if shown < 5 else "")
    assert {one["since"] for one in asked} == {"2030-01-01T00:00:00Z"}


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
