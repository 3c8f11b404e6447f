"""`rhopush bench` around what it measures: what it refuses beforehand, what it leaves when it ends early."""

import io
import os
import signal
import subprocess
import sys
import threading
from argparse import Namespace
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.bench import h2load, latencies
from gateway.bench.errors import CannotMeasure
from gateway.bench.report.document import BenchReport
from gateway.bench.result import Figure, Ratio, Result
from gateway.cli import bench, main
from gateway.errors import BadSetting
from tests.support.redis import RedisServer
from tests.support.signals import AS_FROM_A_TERMINAL

RESULT = Result("ingest", "", (Figure("requests", 1.0),))
RUN = AS_FROM_A_TERMINAL + "import sys; from gateway.cli import main; sys.exit(main())"
WITHOUT_MEASURING = """
import sys
from gateway.bench.result import Result
from gateway.cli import bench, main
bench.run_scenario = lambda name, _: Result(name, "", ())
sys.exit(main())
"""
KEY = "s3cret"


def wanted(*scenarios: str, **more: Any) -> Namespace:
    options = {
        "json": None,
        "html": None,
        "redis": None,
        "pings": None,
        "users": None,
        "full": False,
        "peers": True,
        "runs": 1,
    }
    return Namespace(scenarios=scenarios or ["ingest"], workers=1, connections=1, **(options | more))


def measuring(monkeypatch: pytest.MonkeyPatch, does: Callable[[str], Result]) -> None:
    monkeypatch.setattr(bench, "run_scenario", lambda name, _: does(name))


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    measuring(monkeypatch, lambda name: pytest.fail(f"{name} was measured"))


@pytest.mark.parametrize("what", ["json", "html"])
def test_a_report_that_cannot_be_written_is_refused(tmp_path: Path, what: str) -> None:
    file = tmp_path / "nowhere" / "report"
    with pytest.raises(CannotMeasure, match="cannot be written: No such file"):
        bench.run(wanted(**{what: file}))


def test_a_missing_package_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latencies, "HdrHistogram", None)
    with pytest.raises(CannotMeasure, match=r"pip install .\.\[bench\]"):
        bench.run(wanted("ingest", "endtoend"))


def test_without_the_extra_results_are_printed_and_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A fresh interpreter would take seconds more; the packages count as missing here."""
    monkeypatch.setattr(latencies, "HdrHistogram", None)
    for name in ("aioapns", "pyfcm", "plotly"):
        monkeypatch.setitem(sys.modules, name, None)
    measuring(monkeypatch, lambda _: RESULT)
    file, html = tmp_path / "json", tmp_path / "html"
    command = ["bench", "ingest", "--no-peers", "--json", str(file)]
    assert main([*command, "--html", str(html)]) == bench.EXIT_NO_PAGE
    out, err = capsys.readouterr()
    assert "requests" in out
    assert err == bench.NO_PLOTS
    assert err.count("\n") == 1
    assert "'.[bench]'" in err
    assert msgspec.json.decode(file.read_bytes(), type=BenchReport).results == [RESULT]
    assert not html.exists()
    assert main(command) == 0
    assert capsys.readouterr().err == ""


def test_several_runs_are_reported_by_their_medians(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rates = iter([5.0, 3.0, 4.0])
    measuring(monkeypatch, lambda _: Result("ingest", "", (Figure("requests", next(rates)),)))
    file = tmp_path / "json"
    assert bench.run(wanted(json=file, runs=3)) == 0
    (result,) = msgspec.json.decode(file.read_bytes(), type=BenchReport).results
    assert result.figures == (Figure("requests", 4.0, "", (3.0, 5.0)),)


@pytest.mark.parametrize("name", ["aioapns", "pyfcm"])
def test_a_missing_peer_is_reported_before_any_measurement(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(h2load, "find", lambda: "")
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(CannotMeasure, match=rf"{name} is not installed"):
        bench.run(wanted("ingest", "push"))


@pytest.mark.parametrize("name", ["push", "fanout", "mixed"])
def test_a_missing_h2load_is_reported_before_any_measurement(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CannotMeasure, match="h2load is not installed"):
        bench.run(wanted("ingest", name))


def test_without_peers_their_packages_are_not_required(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("aioapns", "pyfcm"):
        monkeypatch.setitem(sys.modules, name, None)
    measuring(monkeypatch, lambda name: Result(name, "", ()))
    file = tmp_path / "json"
    monkeypatch.setattr(sys, "argv", ["rhopush", "bench", "push", "fanout", "mixed", "--no-peers"])
    assert main(["bench", "push", "fanout", "mixed", "--no-peers", "--json", str(file)]) == 0
    report = msgspec.json.decode(file.read_bytes(), type=BenchReport)
    assert [result.scenario for result in report.results] == ["push", "fanout", "mixed"]
    assert report.command.endswith("--no-peers")
    assert not {"h2load", "nginx", "go", "aioapns", "pyfcm"} & set(report.versions)


def test_a_given_redis_with_content_keeps_it_and_ends_the_run(
    redis_server: RedisServer, redis_address: str
) -> None:
    with redis_server.client() as client:
        client.set("precious", 1)
        with pytest.raises(CannotMeasure, match="is not empty"):
            bench.run(wanted(redis=redis_address))
        assert client.get("precious") == b"1"


@pytest.mark.parametrize(
    "address", ["nonsense://x", "localhost:port", f"redis+sentinel://:{KEY}@one,two/service"]
)
def test_an_invalid_server_address_is_a_bad_setting(address: str) -> None:
    with pytest.raises(BadSetting, match="--redis: ") as refused:
        bench.run(wanted(redis=address))
    assert KEY not in refused.value.message


@pytest.mark.parametrize("form", ["redis://:{key}@127.0.0.1:{port}", "127.0.0.1:{port}:0:{key}"])
def test_a_report_does_not_show_the_password_of_a_redis(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, form: str
) -> None:
    address = form.format(port=6, key=KEY)
    monkeypatch.setattr(bench, "Store", lambda *_: nullcontext())
    monkeypatch.setattr(sys, "argv", ["rhopush", "bench", "ingest", f"--redis={address}"])
    measuring(monkeypatch, lambda _: RESULT)
    file, html = tmp_path / "json", tmp_path / "html"
    bench.run(wanted(redis=address, json=file, html=html))
    assert KEY not in file.read_text() + html.read_text()
    report = msgspec.json.decode(file.read_bytes(), type=BenchReport)
    assert report.command == "rhopush bench ingest --redis=redis://127.0.0.1:6/0"
    assert report.broken_off == ""


@pytest.mark.parametrize(
    ("error", "told"), [(CannotMeasure("no wind"), "no wind"), (KeyboardInterrupt(), "interrupted")]
)
def test_results_before_an_interruption_are_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: BaseException, told: str
) -> None:
    def run(name: str) -> Result:
        if name == "ingest":
            return RESULT
        raise error

    measuring(monkeypatch, run)
    file, html = tmp_path / "json", tmp_path / "html"
    with pytest.raises(type(error)):
        bench.run(wanted("ingest", "soak", json=file, html=html))
    report = msgspec.json.decode(file.read_bytes(), type=BenchReport)
    assert (report.results, report.broken_off) == ([RESULT], told)
    assert told in html.read_text()


def test_a_run_that_measured_nothing_leaves_files_as_they_were(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def run(_: str) -> Result:
        raise CannotMeasure("no wind")

    measuring(monkeypatch, run)
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("of yesterday")
    with pytest.raises(CannotMeasure, match="no wind"):
        bench.run(wanted(json=old, html=new))
    assert old.read_text() == "of yesterday"
    assert not new.exists()


def test_a_report_on_a_full_disk_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    measuring(monkeypatch, lambda _: RESULT)
    with pytest.raises(CannotMeasure, match="/dev/full cannot be written: No space left"):
        bench.run(wanted(json=Path("/dev/full")))


@pytest.mark.parametrize("word", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_leaves_no_process_and_no_folder(tmp_path: Path, word: signal.Signals) -> None:
    """Gateway and store have the folder in their commands; the other roles end with their input."""
    command = [sys.executable, "-c", RUN, "bench", "ingress", "--pings", "2000"]
    environ = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=environ, start_new_session=True) as process:
        deadline = threading.Event()
        while not any(tmp_path.glob("rhobench-*/gateway.log")) and process.poll() is None:
            deadline.wait(0.01)
        process.send_signal(word)  # while the gateway starts: nobody holds it yet
        assert process.wait(60) == 1
    assert list(tmp_path.glob("rhobench-*")) == []
    assert [text for text in command_lines() if str(tmp_path) in text] == []


@pytest.mark.parametrize(
    ("scenarios", "told"),
    [(["ingress", "rhoconnect_push"], "its output is not read any more"), (["ingress"], "")],
)
def test_a_reader_that_stops_reading_ends_the_run_quietly(
    tmp_path: Path, scenarios: list[str], told: str
) -> None:
    file = tmp_path / "json"
    command = [sys.executable, "-c", WITHOUT_MEASURING, "bench", *scenarios, "--json", str(file)]
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as nobody:
        done = subprocess.run(command, stdout=nobody, stderr=subprocess.PIPE, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")
    report = msgspec.json.decode(file.read_bytes(), type=BenchReport)
    assert [result.scenario for result in report.results] == ["ingress"]
    assert report.broken_off == told


def command_lines() -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(entry.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return found


def test_a_terminal_without_the_characters_of_the_table_gets_the_table(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(out, encoding="ascii"))
    ratios = (Ratio("one to another", 2.0, 3.0, at_most=True),)
    monkeypatch.setattr(bench, "run_scenario", lambda *_: Result("ingress", "", (), ratios))
    assert main(["bench", "ingress"]) == 0
    assert b"? 3: reached" in out.getvalue()
