"""Scenarios from end to end, as small as they can be. Those with the same options share a running gateway."""

import io
import os
import shutil
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from gateway.bench import golang
from gateway.bench.bench import Bench, Options
from gateway.bench.child import Child
from gateway.bench.errors import CannotMeasure
from gateway.bench.peers import Gorush, PeerMeasurement, Peers
from gateway.bench.result import Result
from gateway.bench.roles.load import LoadResult
from gateway.bench.scenarios import attacks, run_scenario
from gateway.bench.scenarios.endtoend import NAMED
from gateway.bench.testbed import BenchEnvironment
from gateway.system.progress import Progress
from tests.gateway.bench.conftest import CONNECTIONS, USERS

FEW_USERS: Final = 50
PINGS: Final = 4_000
"""Some ticks of CPU (10 ms), also as the deliveries of requests that name many users."""
pytestmark = pytest.mark.usefixtures("forked")


def small(scenario: str, pings: int, users: int = USERS, *, peers: bool = True) -> Result:
    options = Options(pings=pings, users=users, connections=CONNECTIONS, peers=peers)
    bench = Bench(options, Progress(io.StringIO()))
    if peers:
        bench.peers = one_run()
    return run_scenario(scenario, bench)


@cache
def one_run() -> Peers:
    """The peers of one run, which measures each of them once."""
    return Peers(Progress(io.StringIO()), CONNECTIONS)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the measurements whose length no option sets."""
    monkeypatch.setattr("gateway.bench.peers._REQUESTS", 8_000)
    monkeypatch.setattr("gateway.bench.peers._ONE_BY_ONE", 500)
    monkeypatch.setattr("gateway.bench.peers._PACED", 50)
    monkeypatch.setattr("gateway.bench.scenarios.mixed.WARM_UP", 50)
    monkeypatch.setattr("gateway.bench.scenarios.fanout.ROUNDS", 1)
    monkeypatch.setattr("gateway.bench.scenarios.rhoconnect_push._IDLE_S", 0.1)


@pytest.fixture
def roles(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The roles whose processes are started."""
    started: list[str] = []
    begin = Child.__init__

    def noted(child: Child, role: str, *rest: Any, **more: Any) -> None:
        started.append(role)
        begin(child, role, *rest, **more)

    monkeypatch.setattr(Child, "__init__", noted)
    return started


@pytest.fixture
def without_go(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(name: str) -> None:
        raise CannotMeasure(f"{name} needs Go")

    monkeypatch.setattr(golang, "build", build)


def figures(result: Result) -> dict[str, float]:
    return {figure.name: figure.value for figure in result.figures}


def test_soak_sends_all_pings_and_leaves_no_key_without_expiry() -> None:
    result = small("soak", 1_000, FEW_USERS)
    found = figures(result)
    assert found["pings"] == 1_000
    assert found["Redis CPU a ping"] > 0
    assert found["Redis traffic a ping"] > 0
    assert found["gateway memory (PSS), at the end"] > 10
    lasting = "Redis keys without a lifetime"
    # 15 keys a user; streams, consumer groups and what workers say of themselves are few
    keys = FEW_USERS * 15
    assert keys <= found[f"{lasting}, at the start"] < keys + 50
    assert found[f"{lasting}, at the end"] == pytest.approx(found[f"{lasting}, at the start"], abs=5)


def test_mixed_measures_awaited_pings_during_broadcasts() -> None:
    pytest.importorskip("hdrh")
    if shutil.which("h2load") is None:
        pytest.skip("h2load is not installed")
    found = figures(small("mixed", 100, FEW_USERS))
    assert found["broadcast pushes meanwhile"] >= FEW_USERS
    for when in ("idle: Redis {} a ping", "during broadcasts: Redis {} a push"):
        assert found[when.format("CPU")] > 0
        assert found[when.format("traffic")] > 0
    assert 0 < found["idle, p50"] <= found["idle, p99"]
    assert 0 < found["during broadcasts, p50"] <= found["during broadcasts, p99"]


@pytest.mark.usefixtures("shared_stand")
def test_bulk_brings_every_line_to_its_verdict_beside_as_many_notifications(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    theirs = PeerMeasurement("gorush, 100 a request", 3_000, 1.0, 1.0)
    monkeypatch.setattr(Peers, "optional", lambda *_: Gorush(theirs, 30.0))
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    monkeypatch.setattr("gateway.bench.scenarios.bulk.ROUNDS", 1)
    monkeypatch.setattr("gateway.bench.scenarios.bulk.STREAM_FACTOR", 2)
    result = small("bulk", 24_000)  # the load generator needs about a microsecond a line
    measured, ratios = figures(result), {ratio.name: ratio for ratio in result.ratios}
    assert measured["one long request: first answer"] > 0
    assert measured["one long request: gateway memory at the end"] > 10
    ours = measured["gateway CPU a ping"]
    to_single = ratios["gateway CPU a ping, to a single ping's"]
    beside = measured["beside single pings: gateway CPU a ping"]
    assert to_single.value == pytest.approx(beside / measured["single pings: gateway CPU a ping"])
    assert (to_single.bar, to_single.spread) == (0.75, (to_single.value, to_single.value))
    one = ratios["pushes/s of one worker, to those of gorush, 100 a request"]
    assert (one.value, one.bar) == (measured["pings"] / theirs.rate, None)
    every = ratios["pushes/s of a worker for each core, to those of gorush, 100 a request"]
    assert (every.value, every.bar) == (measured["a worker for each core: pings"] / theirs.rate, 1.5)
    cpu = ratios["gateway CPU a ping, to that of gorush, 100 a request"]
    assert (cpu.value, cpu.bar, cpu.at_most) == (ours / theirs.cpu_us, 0.5, True)
    assert "one long request: memory at the end, to 20 %" in ratios


@pytest.mark.usefixtures("shared_stand")
def test_every_ingress_brings_its_pings_to_the_last_verdict() -> None:
    result = small("ingress", USERS)  # the scenario registers as many users as it sends pings
    found = figures(result)
    for ingress in ("REST", "Resque", "data changes"):
        assert found[f"{ingress}: pings"] > 0
        assert found[f"{ingress}: gateway CPU a ping"] > 0
        assert found[f"{ingress}: Redis traffic a ping"] > 0
    assert [ratio.name for ratio in result.ratios] == [
        "Resque: pings a CPU second, to REST's",
        "data changes: pings a CPU second, to REST's",
    ]


def assert_compared_with_a_bare_protocol(result: Result, part: str, ratio: str) -> None:
    found, ratios = figures(result), {ratio.name: ratio for ratio in result.ratios}
    assert ratios[ratio].value == found[part] / found["bare protocol: CPU a request"]
    assert ratios["aiohttp's CPU a request, to the bare protocol's"].bar is ratios[ratio].bar is None


@pytest.mark.usefixtures("shared_stand", "without_go")
def test_the_ingress_is_compared_with_a_bare_protocol() -> None:
    result = small("ingest", PINGS)
    ratio = "ingress CPU a request, to the bare protocol's"
    assert_compared_with_a_bare_protocol(result, "ingress CPU a request", ratio)


@pytest.mark.usefixtures("shared_stand")
def test_the_gateway_is_compared_with_a_bare_protocol_and_many_users_with_as_many_notifications(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    theirs = PeerMeasurement("gorush, 100 a request", 3_000, 1.0, 1.0)
    monkeypatch.setattr(Peers, "optional", lambda *_: Gorush(theirs, 30.0))
    result = small("endtoend", PINGS)
    ratio = "gateway CPU a ping, to the bare protocol's a request"
    assert_compared_with_a_bare_protocol(result, "gateway CPU a ping", ratio)
    ratios = {ratio.name: ratio for ratio in result.ratios}
    ours = ratios[f"pushes/s with {NAMED} users a request, to those of gorush, 100 a request"]
    assert ours.value == figures(result)[f"{NAMED} users a request: pushes"] / theirs.rate
    assert ours.bar == 2.0
    assert "pushes/s, to those of gorush, 100 a request" in ratios


@pytest.mark.usefixtures("shared_stand")
def test_one_push_too_many_gives_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    load = BenchEnvironment.load

    def once_too_often(stand: BenchEnvironment, requests: int, **more: Any) -> LoadResult:
        return load(stand, requests + (more.get("named", 1) > 1), **more)

    monkeypatch.setattr(BenchEnvironment, "load", once_too_often)
    with pytest.raises(CannotMeasure, match="4000 pushes were due and 4100 came to the provider"):
        small("endtoend", PINGS)


def test_soak_refuses_fewer_pings_than_it_has_parts() -> None:
    with pytest.raises(CannotMeasure, match="it needs at least as many pings"):
        small("soak", 9)


def test_fewer_messages_than_connections_are_posted_nevertheless() -> None:
    assert figures(small("rhoconnect_push", 3))["Redis traffic a message from inside"] > 0


def test_good_pings_are_measured_during_each_attack_and_a_fault_of_the_gateway_is_noted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("hdrh")
    names = ["A1: pings with numbers of 3,600 digits", "A6: stored markup"]
    monkeypatch.setattr("gateway.bench.scenarios.attacks.ATTACKS", names)
    monkeypatch.setattr("gateway.bench.scenarios.attacks._SECONDS", 0.5)
    under = attacks.under_attack

    def faulty(*given: Any) -> attacks.Attacked:
        found = under(*given)
        return found._replace(faults=[*found.faults, "markup came back"]) if names[1] in given else found

    monkeypatch.setattr(attacks, "under_attack", faulty)
    result = small("attacks", 50, FEW_USERS, peers=False)
    measured = figures(result)
    for when in ("idle", *names):
        assert 0 < measured[f"{when}, p50"] <= measured[f"{when}, p99"]
    peaks = [measured[f"{name}, peak memory"] for name in names]
    assert 10 < max(peaks) == result.ratios[0].value < 400
    assert result.notes == (f"{names[1]}: markup came back",)
    ((bars,),) = [plot.lines for plot in result.plots]
    assert [name for name, _ in bars.points] == ["idle", *names]


PEER_PROGRAMS: Final = ("h2load", "nginx", "go")
PEER_NAMES: Final = (
    "aiohttp",
    "bare protocol",
    "gorush",
    "h2load",
    "aioapns",
    "pyfcm",
    "apns2",
    "nginx",
    "provider's",
)
ALONE: Final = {
    "ingest": {
        "ingress CPU a request",
        "Redis CPU a ping (append and consumption)",
        "consuming gateway's CPU a ping",
        "load generator's CPU a request",
    },
    "endtoend": {
        *(f"{part} CPU a ping" for part in ("gateway", "redis", "provider", "load")),
        *(f"{NAMED} users a request: {part} CPU a push" for part in ("gateway", "Redis")),
    },
    "push": {"gateway CPU a push", "simulator CPU a push"},
    "fanout": {
        *(f"{part} CPU a ping" for part in ("gateway", "redis", "provider", "load")),
        *(f"making a snapshot: {part} CPU a user" for part in ("gateway", "Redis")),
        "all users: Redis CPU a push",
        *(f"{who}: gateway CPU a push" for who in ("a list", "all users")),
    },
    "mixed": {
        "idle: Redis CPU a ping",
        "during broadcasts: gateway CPU a push",
        "during broadcasts: Redis CPU a push",
    },
    "rhoconnect_push": {"wake-up, CPU a device", "Redis CPU a message from inside"},
}
"""The figures in µs of each scenario that has peers, without those of the peers."""


ROLES: Final = {
    "ingest": {"http_ingress"},
    "push": {"provider", "sender"},
    "rhoconnect_push": {"rhoconnect_push", "polling_devices"},
}
"""The processes that a scenario starts beside its stand."""
AT_A_RATE: Final = {"mixed": 100}
"""Pings of the scenarios that send them at a fixed rate."""


@pytest.mark.usefixtures("shared_stand")
@pytest.mark.parametrize("scenario", ALONE)
def test_without_peers_a_scenario_measures_the_gateway_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, roles: list[str], scenario: str
) -> None:
    """No program of a peer is run, no peer's process is started, and all figures of the gateway are still reported."""
    for name in PEER_PROGRAMS:
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\ntouch {tmp_path}/was-run\nexit 1\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    result = small(scenario, AT_A_RATE.get(scenario, PINGS), peers=False)
    assert not (tmp_path / "was-run").exists()
    assert set(roles) == ROLES.get(scenario, set())
    assert {figure.name for figure in result.figures if figure.unit == "µs"} == ALONE[scenario]
    found = [*figures(result), *(ratio.name for ratio in result.ratios), *result.notes]
    found += [str(point[0]) for plot in result.plots for line in plot.lines for point in line.points]
    assert [name for name in found if any(peer in name for peer in PEER_NAMES)] == []
