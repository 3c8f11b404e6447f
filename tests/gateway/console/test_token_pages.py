"""Named tokens and the audit in the console."""

import re

import pytest

from gateway.registry.named_tokens import NamedTokens
from tests.gateway.console.harness import Console


async def test_a_token_is_created_shown_once_used_and_revoked(console: Console) -> None:
    async with console.operator() as browser:
        fields = {"name": "ci", "scopes[]": "read", "apps": "", "expires_at": ""}
        status, _, text = await browser.submit("/console/tokens", "/console/tokens", fields)
        assert status == 200
        shown = re.search(r"rhp_[\w-]{43}", text)
        assert shown
        assert shown.group() not in (await browser.get("/console/tokens"))[1]
        async with console.operator(shown.group()) as other:
            assert (await other.get("/console"))[0] == 200
            assert (await other.get("/console/tokens"))[0] == 403
        status, location, _ = await browser.submit(
            "/console/tokens", "/console/tokens/revoke", {"name": "ci"}
        )
        assert (status, location) == (303, "/console/tokens")
        assert "There are no named tokens" in (await browser.get("/console/tokens"))[1]
        audit = (await browser.get("/console/audit"))[1]
        assert "POST /console/tokens ci" in audit
        assert "POST /console/tokens/revoke ci" in audit


async def test_invalid_properties_are_named_escaped(console: Console) -> None:
    async with console.operator() as browser:
        for fields in (
            {"name": "<script>x</script>", "scopes[]": "read"},
            {"name": "ok", "scopes[]": "<script>x</script>"},
            {"name": "ok"},
            {"name": "ok", "scopes[]": "read", "expires_at": "<script>x</script>"},
        ):
            status, _, text = await browser.submit("/console/tokens", "/console/tokens", fields)
            assert status == 400
            assert "<script>x" not in text
        assert "<script>x" not in (await browser.get("/console/audit"))[1]
        assert (await browser.get("/console/audit?cursor=%3Cb"))[0] == 400


async def test_an_unknown_token_is_not_revoked(console: Console) -> None:
    async with console.operator() as browser:
        assert (await browser.submit("/console/tokens", "/console/tokens/revoke", {"name": "x"}))[0] == 404


async def test_a_form_that_is_refused_keeps_its_values(console: Console) -> None:
    fields = {"name": "ci", "apps": "com.a, com.b", "expires_at": "soon", "scopes[]": "read"}
    async with console.operator() as browser:
        status, _, text = await browser.submit("/console/tokens", "/console/tokens", fields)
    assert status == 400
    for name in ("name", "apps", "expires_at"):
        assert re.search(rf'name="{name}" value="{fields[name]}"', text)
    assert re.findall(r'value="(\w+)" checked', text) == ["read"]


async def test_a_defect_is_not_recorded_as_a_created_token(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(NamedTokens, "create", fails)
    async with console.operator() as browser:
        status, _, _ = await browser.submit(
            "/console/tokens", "/console/tokens", {"name": "ci", "scopes[]": "read"}
        )
        assert status == 500
        assert "/console/tokens ci" not in (await browser.get("/console/audit"))[1]
