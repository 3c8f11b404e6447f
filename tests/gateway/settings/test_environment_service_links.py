"""Service links of Kubernetes beside the variables of settings."""

from pathlib import Path

import msgspec
import pytest

from gateway.settings import environment
from tests.gateway.settings.test_convert import complaint, loaded


def service_links(name: str) -> dict[str, str]:
    """The variables that Kubernetes puts into each pod of a namespace for one service."""
    head = name.upper().replace("-", "_")
    link = "tcp://10.3.0.7:9292"
    return {
        f"{head}_SERVICE_HOST": "10.3.0.7",
        f"{head}_SERVICE_PORT": "9292",
        f"{head}_SERVICE_PORT_HTTP": "9292",
        f"{head}_PORT": link,
        f"{head}_PORT_9292_TCP": link,
        f"{head}_PORT_9292_TCP_PROTO": "tcp",
        f"{head}_PORT_9292_TCP_PORT": "9292",
        f"{head}_PORT_9292_TCP_ADDR": "10.3.0.7",
    }


SECTIONS = [place[0] for place, type_ in environment.setting_paths() if len(place) == 1]


@pytest.mark.parametrize("name", ["", *SECTIONS, "apns-host", "rhoconnect-push-host", "redis-master"])
def test_a_service_beside_the_gateway_stops_no_pod(tmp_path: Path, name: str) -> None:
    environ = service_links(f"rhopush-{name}".rstrip("-").replace("_", "-"))
    found = loaded(tmp_path, "{}", environ)
    plain = loaded(tmp_path, "{}", {})
    assert msgspec.structs.replace(found, warnings=()) == msgspec.structs.replace(plain, warnings=())
    if name == "metrics":
        assert any("RHOPUSH_METRICS_PORT is a service link" in warning for warning in found.warnings)


def test_a_port_that_is_none_and_no_service_link_is_still_refused(tmp_path: Path) -> None:
    assert complaint(tmp_path, "{}", {"RHOPUSH_METRICS_PORT": "tcp:9292"}).startswith(
        "metrics.port: expected"
    )
