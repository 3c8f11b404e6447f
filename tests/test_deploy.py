"""The files in deploy/ agree with the product: metrics, settings and options exist."""

import argparse
import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.cli import serve
from gateway.metrics import Metrics
from gateway.settings import Settings, load
from gateway.settings.environment import setting_paths, variable_of
from protocols.devices import RHOCONNECT_PUSH

DEPLOY = Path(__file__).parents[1] / "deploy"
_NAME = re.compile(r"rhopush_\w+")
_OTHER_VARIABLES = {
    "RHOPUSH_SERVER",  # of the client
    "RHOPUSH_COURIER_TOKEN_FILE",  # of the provider in tests/provider_package
}
_VARIABLE = re.compile(r"RHOPUSH_[A-Z0-9_]*[A-Z0-9]")
_GROUPED = re.compile(r"\bby \(([a-z_, ]+)\)")
_SHOWN = re.compile(r"{{ ?(?:\$labels\.)?([a-z_]+) ?}}")
PAGES = [DEPLOY.parent / "README.md", *sorted((DEPLOY.parent / "docs").glob("*.md"))]
LABELS = {label for known in Metrics().values.definitions.values() for label in known.label_names}
_PARTS = re.compile(r"_(bucket|sum|count|created)$")


def metric_names() -> set[str]:
    """Every name that Prometheus would know."""
    return {
        family.name + "_total" if family.type == "counter" else family.name
        for family in Metrics().registry.collect()
    }


def named(text: str) -> set[str]:
    return {_PARTS.sub("", name) for name in _NAME.findall(text)}


@pytest.mark.parametrize("file", ["prometheus/rules.yml", "grafana/rhopush.json"])
def test_every_queried_metric_exists(file: str) -> None:
    asked = named((DEPLOY / file).read_text())
    assert len(asked) >= 5
    assert asked <= metric_names()


def test_every_alert_has_a_description() -> None:
    rules = yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text())["groups"][0]["rules"]
    assert len({rule["alert"] for rule in rules}) == len(rules) >= 7
    for rule in rules:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"].endswith(".")


def test_every_alert_has_a_row_with_its_first_command() -> None:
    rules = yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text())["groups"][0]["rules"]
    page = (DEPLOY.parent / "docs" / "operations.md").read_text()
    table = page.split("### Alerts\n")[1].split("\n### ")[0]
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line[:3] == "| `"
    ]
    assert [row[:2] for row in rows] == [[f"`{rule['alert']}`", rule["labels"]["severity"]] for rule in rules]
    for _, _, meaning, command, action in rows:
        assert meaning
        assert action
        words = command.strip("`").split()
        assert words[0] in ("curl", "df", "redis-cli", "rhopush", "top")
        if words[0] == "rhopush":
            parser = argparse.ArgumentParser()
            importlib.import_module(f"gateway.cli.{words[1]}").add_arguments(parser)
            parser.parse_args(words[2:])


def test_the_dashboards_panels_stand_side_by_side() -> None:
    panels = json.loads((DEPLOY / "grafana" / "rhopush.json").read_text())["panels"]
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels) == 22
    assert all(panel["title"] and panel["description"].endswith(".") for panel in panels)


def manifests() -> dict[str, Any]:
    documents = yaml.safe_load_all((DEPLOY / "kubernetes" / "rhopush.yaml").read_text())
    return {document["kind"]: document for document in documents}


def commands() -> Iterator[tuple[str, list[str]]]:
    container = manifests()["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    yield "kubernetes", container["args"]
    yield "compose", yaml.safe_load((DEPLOY / "compose.yml").read_text())["services"]["rhopush"]["command"]
    unit = (DEPLOY / "systemd" / "rhopush.service").read_text()
    line = next(line for line in unit.splitlines() if line.startswith("ExecStart="))
    yield "systemd", line.split("/bin/rhopush ")[1].split()


@pytest.mark.parametrize(("where", "words"), list(commands()), ids=[where for where, _ in commands()])
def test_every_command_line_is_understood(where: str, words: list[str]) -> None:
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    assert words[0] == "serve"
    args = parser.parse_args(words[1:])
    assert (args.env, args.workers) == ("production", 2), where


def test_the_manifests_settings_load(tmp_path: Path) -> None:
    file = tmp_path / "settings.yml"
    file.write_text(manifests()["ConfigMap"]["data"]["settings.yml"])
    settings = load(file, "production", {})
    assert (settings.queue.durability, settings.data_dir) == ("aof", Path("/var/lib/rhopush"))
    assert settings.apns.configured
    assert settings.fcm.configured


def test_the_manifests_metrics_are_scraped_where_they_are_served() -> None:
    template = manifests()["Deployment"]["spec"]["template"]
    container = template["spec"]["containers"][0]
    environ = {
        entry["name"]: entry.get("value", "") for entry in container["env"] if "METRICS" in entry["name"]
    }
    port = load(None, "production", environ).metrics.port
    assert port is not None
    assert template["metadata"]["annotations"]["prometheus.io/port"] == str(port)
    assert {"name": "metrics", "containerPort": port} in container["ports"]
    assert port not in [entry["port"] for entry in manifests()["Service"]["spec"]["ports"]]
    compose = yaml.safe_load((DEPLOY / "compose.yml").read_text())["services"]["rhopush"]
    at = compose["environment"]["RHOPUSH_METRICS_PORT"]
    assert f"127.0.0.1:{at}:{at}" in compose["ports"]


def test_each_port_of_the_service_is_one_of_the_container() -> None:
    container = manifests()["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    names = {port["name"]: port["containerPort"] for port in container["ports"]}
    served = {port["name"]: names[port["targetPort"]] for port in manifests()["Service"]["spec"]["ports"]}
    assert served == {"http": 9292, RHOCONNECT_PUSH.replace("_", "-"): Settings().rhoconnect_push.port}


@pytest.mark.parametrize(
    "file", [*PAGES, *(path for path in DEPLOY.rglob("*") if path.is_file())], ids=lambda path: path.name
)
def test_every_variable_that_is_named_is_a_setting(file: Path) -> None:
    known = {variable_of(path) for path, _ in setting_paths()} | _OTHER_VARIABLES
    assert {name for name in _VARIABLE.findall(file.read_text()) if name not in known} == set()


@pytest.mark.parametrize("file", PAGES, ids=lambda path: path.name)
def test_every_metric_that_a_page_names_exists(file: Path) -> None:
    known = metric_names()
    assert {name for name in named(file.read_text()) if name not in known} == set()


@pytest.mark.parametrize("file", ["prometheus/rules.yml", "grafana/rhopush.json"])
def test_every_queried_label_exists(file: str) -> None:
    text = (DEPLOY / file).read_text()
    grouped = {label for group in _GROUPED.findall(text) for label in group.split(", ")}
    assert grouped - {"le"} <= LABELS
    assert set(_SHOWN.findall(text)) <= LABELS


def test_the_termination_grace_exceeds_the_drain() -> None:
    pod = manifests()["Deployment"]["spec"]["template"]["spec"]
    grace = [pod["terminationGracePeriodSeconds"] - 5]  # the wait before it is told
    compose = yaml.safe_load((DEPLOY / "compose.yml").read_text())["services"]["rhopush"]
    grace.append(int(compose["stop_grace_period"].removesuffix("s")))
    unit = (DEPLOY / "systemd" / "rhopush.service").read_text()
    grace += [int(found) for found in re.findall(r"TimeoutStopSec=(\d+)", unit)]
    assert min(grace) > Settings().drain_s + 5


def test_the_image_is_made_of_what_the_distribution_is() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    names = {name for line in copied for name in line.split()}
    assert names == {"pyproject.toml", "README.md", "LICENSE", "requirements", "gateway", "protocols"}
