"""The command as a process: its words, and its exit status for wrong usage and wrong settings."""

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.forks import Forks

Run = Callable[..., subprocess.CompletedProcess[str]]
ROOT = Path(__file__).parents[2]
RUN = "import sys; from gateway.cli import main; sys.exit(main())"


def process(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", RUN, *words],
        cwd=folder,
        env={"PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def rhopush(forks: Forks, tmp_path: Path) -> Run:
    """Runs the command in the folder of the test."""
    return lambda *words, **environ: forks.run(tmp_path, {"PATH": "", **environ}, *words)


def test_help_lists_every_command(tmp_path: Path) -> None:
    done = process(tmp_path, "--help")
    assert done.returncode == 0
    for command in ("demo", "serve", "ping", "check", "rps", "simulate", "bench"):
        assert f"\n  {command} " in done.stdout


def test_the_version_is_that_of_the_package(rhopush: Run) -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        version = tomllib.load(file)["project"]["version"]
    assert rhopush("--version").stdout == f"rhopush {version}\n"


def test_a_fork_ends_as_a_process_does(rhopush: Run, tmp_path: Path) -> None:
    words = ("check", "--settings", "none.yml")
    one, other = rhopush(*words), process(tmp_path, *words)
    assert (one.returncode, one.stdout, one.stderr) == (other.returncode, other.stdout, other.stderr)
    assert one.returncode == 2


@pytest.mark.parametrize(
    "words", [[], ["dance"], ["serve", "--port", "x"], ["serve", "--workers", "0"], ["pings"]]
)
def test_wrong_usage_gives_exit_status_2(rhopush: Run, words: list[str]) -> None:
    done = rhopush(*words)
    assert done.returncode == 2
    assert "usage: rhopush" in done.stderr


def test_a_ping_to_nobody_names_the_options(rhopush: Run) -> None:
    done = rhopush("ping")
    assert done.returncode == 2
    assert "one of --user, --all-users, --device, --push-token and --file is required" in done.stderr


@pytest.mark.parametrize("command", ["serve", "check"])
@pytest.mark.parametrize(
    ("text", "line"),
    [
        (":development: {:gateway: {apns: {prot: 1}}}", "apns.prot: unknown setting; did you mean port?"),
        (":development: {:redis: 'http://db'}", "redis: not a Redis address: unknown scheme 'http'"),
        (
            ":development: {:gateway: {rhoconnect_push: {redis: 'a:b'}}}",
            "rhoconnect_push.redis: not a Redis address: the port must be a number",
        ),
        (":development: {:gateway: {rps: {mode: client}}}", "rps: is now called rhoconnect_push"),
        (
            ":development: {:gateway: {rhoconnect_push: {old_ids: true}}}",
            "rhoconnect_push.old_ids: is now called rhoconnect_push.accept_unsigned_ids",
        ),
    ],
)
def test_a_wrong_setting_is_one_line_and_exit_status_2(
    rhopush: Run, tmp_path: Path, command: str, text: str, line: str
) -> None:
    (tmp_path / "settings.yml").write_text(text)
    done = rhopush(command, "--settings", "settings.yml")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"rhopush {command}: {line}")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("command", ["serve", "check"])
def test_an_old_environment_variable_is_one_line_and_exit_status_2(rhopush: Run, command: str) -> None:
    done = rhopush(command, RHOPUSH_RPS_MODE="off")
    assert (done.returncode, done.stdout) == (2, "")
    said = "RHOPUSH_RPS_MODE: is now called RHOPUSH_RHOCONNECT_PUSH_MODE"
    assert done.stderr == f"rhopush {command}: {said}\n"


@pytest.mark.parametrize(("old", "new"), [("doors", "ingress"), ("rps", "rhoconnect_push")])
def test_an_old_scenario_is_refused_with_a_list_that_holds_the_new_name(
    rhopush: Run, old: str, new: str
) -> None:
    done = rhopush("bench", old)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"invalid choice: {old!r}" in done.stderr
    assert new in done.stderr.partition("choose from")[2]
    assert old not in done.stderr.partition("choose from")[2]


INTERRUPTED = """
import signal, sys
from importlib.abc import MetaPathFinder
signal.signal(signal.SIGINT, signal.default_int_handler)  # a process of the background inherits that it is ignored
class Interrupt(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "gateway.cli." + sys.argv[1]:
            signal.raise_signal(signal.SIGINT)
from gateway.cli import main
sys.meta_path.insert(0, Interrupt())
sys.exit(main())
"""


@pytest.mark.parametrize("command", ["check", "simulate", "pings"])
def test_ctrl_c_while_a_command_loads_causes_no_traceback(command: str) -> None:
    words = [sys.executable, "-c", INTERRUPTED, command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


PRINTING = (
    "import sys, gateway.cli as cli, gateway.cli.audit as audit;"
    "audit.run = lambda _: sys.stdout.write('x' * {size}) and 0; sys.exit(cli.main(['audit']))"
)


def printing(size: int, stdout: int, unbuffered: str = "") -> subprocess.CompletedProcess[str]:
    """A command that writes `size` characters."""
    command = [sys.executable, "-c", PRINTING.format(size=size)]
    environ = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    return subprocess.run(
        command, env=environ, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(("size", "unbuffered"), [(10, ""), (1_000_000, ""), (10, "1")])
def test_a_reader_that_has_ended_causes_no_traceback(size: int, unbuffered: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = printing(size, writer, unbuffered)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_characters_that_the_locale_does_not_have_are_escaped() -> None:
    program = PRINTING.replace("'x' * {size}", "'ab\\u2026\\n'")
    environ = {**os.environ, "LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ab\\u2026\n", "")


@pytest.mark.parametrize("size", [10, 1_000_000])
def test_a_full_disk_is_reported(size: int) -> None:
    with Path("/dev/full").open("w") as full:
        done = printing(size, full.fileno())
    text = "rhopush: the output cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, text)
