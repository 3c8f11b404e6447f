"""Endpoints are checked at the start; errors name the setting and show neither URL nor secret."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.errors import BadSetting
from gateway.settings import Settings, from_json, load, to_json
from gateway.settings.reload import files_of, merge_reloadable
from tests.support.webhooks import OTHER_SECRET, SECRET

GOOD = {"url": "https://crm.example.com/h?key=hidden", "secret": SECRET, "events": ["ping.completed"]}


def read(folder: Path, webhooks: Any, **environ: str) -> Settings:
    file = folder / "settings.yml"
    file.write_text(yaml.safe_dump({"development": {"gateway": {"webhooks": webhooks}}}))
    return load(file, "development", environ)


def test_an_endpoint_has_its_values(tmp_path: Path) -> None:
    webhooks = read(tmp_path, {"crm": {**GOOD, "ca_file": "ca.pem"}}).webhooks
    assert webhooks["crm"].target.shown == "https://crm.example.com/h"
    assert webhooks["crm"].ca_file == tmp_path / "ca.pem"
    assert [secret.reveal() for secret in webhooks["crm"].secret] == [SECRET]
    assert "hidden" not in repr(webhooks)
    assert SECRET not in repr(webhooks)


def test_two_secrets_and_endpoints_without_one(tmp_path: Path) -> None:
    rotated = {**GOOD, "secret": [SECRET, OTHER_SECRET]}
    local = {"url": "file:///tmp/events", "events": ["lane.down"]}
    webhooks = read(tmp_path, {"crm": rotated, "log": local}).webhooks
    assert (len(webhooks["crm"].secret), len(webhooks["log"].secret)) == (2, 0)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"events": ["ping.complete"]},
            "webhooks.crm.events: 'ping.complete' is not an event type; did you mean",
        ),
        ({"events": []}, "webhooks.crm.events: expected a list of event types"),
        ({"events": "ping.completed"}, "webhooks.crm.events: expected a list"),
        ({"url": None}, "webhooks.crm.url: is missing"),
        ({"url": "http://crm.example.com/hidden"}, "webhooks.crm.url: http:// to another machine"),
        ({"url": "gopher://hidden/"}, "webhooks.crm.url: expected a URL that begins with"),
        ({"secret": None}, "webhooks.crm.secret: is missing"),
        ({"secret": "hidden"}, "webhooks.crm.secret: expected whsec_"),
        ({"secret": [SECRET, "whsec_hidden"]}, "webhooks.crm.secret: "),
        ({"secret": [SECRET, SECRET, SECRET]}, "webhooks.crm.secret: expected one secret"),
        ({"secrets": SECRET}, "webhooks.crm.secrets: unknown setting; did you mean secret?"),
        ({"insecure": "hidden"}, "webhooks.crm.insecure: expected true or false"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    with pytest.raises(BadSetting) as caught:
        read(tmp_path, {"crm": {**GOOD, **changed}})
    assert said in caught.value.message
    assert "settings.yml, line" in caught.value.message
    assert "hidden" not in caught.value.message
    assert SECRET not in caught.value.message


@pytest.mark.parametrize("webhooks", [["crm"], {"a name": GOOD}, {"": GOOD}, {"a" * 65: GOOD}, {"crm": "x"}])
def test_other_forms_are_refused(tmp_path: Path, webhooks: Any) -> None:
    with pytest.raises(BadSetting, match="webhooks"):
        read(tmp_path, webhooks)


def test_the_environment_gives_all_endpoints_as_json(tmp_path: Path) -> None:
    text = '{"log": {"url": "redis-stream://events", "events": ["lane.up"]}}'
    found = read(tmp_path, {"crm": GOOD}, RHOPUSH_WEBHOOKS=text)
    assert set(found.webhooks) == {"crm", "log"}
    with pytest.raises(BadSetting, match="RHOPUSH_WEBHOOKS"):
        read(tmp_path, {}, RHOPUSH_WEBHOOKS='{"log": {"url": "redis-stream://events", "events": ["up"]}}')


def test_a_reload_applies_endpoints_and_watches_their_files(tmp_path: Path) -> None:
    old, new = read(tmp_path, {}), read(tmp_path, {"crm": {**GOOD, "ca_file": "/ca.pem"}})
    change = merge_reloadable(old, new)
    assert change.settings.webhooks == new.webhooks
    assert change.needs_restart == ()
    assert Path("/ca.pem") in files_of(new)
    assert from_json(to_json(new)) == new
