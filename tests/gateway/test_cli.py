"""The command as a process: its words, and its exit status for wrong usage and wrong settings."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

RUN = "import sys; from gateway.cli import main; sys.exit(main())"


def rhopush(folder: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", RUN, *words],
        cwd=folder,
        env={"PATH": "", **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_lists_every_command(tmp_path: Path) -> None:
    done = rhopush(tmp_path, "--help")
    assert done.returncode == 0
    for command in ("demo", "serve", "ping", "check", "rps", "simulate", "bench"):
        assert f"\n  {command} " in done.stdout


def test_version(tmp_path: Path) -> None:
    assert rhopush(tmp_path, "--version").stdout.startswith("rhopush 0.")


@pytest.mark.parametrize(
    "words", [[], ["dance"], ["serve", "--port", "x"], ["serve", "--workers", "0"], ["pings"]]
)
def test_wrong_usage_gives_exit_status_2(tmp_path: Path, words: list[str]) -> None:
    done = rhopush(tmp_path, *words)
    assert done.returncode == 2
    assert "usage: rhopush" in done.stderr


def test_a_ping_to_nobody_names_the_options(tmp_path: Path) -> None:
    done = rhopush(tmp_path, "ping")
    assert done.returncode == 2
    assert "one of --user, --all-users, --device and --file is required" in done.stderr


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
    tmp_path: Path, command: str, text: str, line: str
) -> None:
    (tmp_path / "settings.yml").write_text(text)
    done = rhopush(tmp_path, command, "--settings", "settings.yml")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"rhopush {command}: {line}")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("command", ["serve", "check"])
def test_an_old_environment_variable_is_one_line_and_exit_status_2(tmp_path: Path, command: str) -> None:
    done = rhopush(tmp_path, command, RHOPUSH_RPS_MODE="off")
    assert (done.returncode, done.stdout) == (2, "")
    said = "RHOPUSH_RPS_MODE: is now called RHOPUSH_RHOCONNECT_PUSH_MODE"
    assert done.stderr == f"rhopush {command}: {said}\n"


@pytest.mark.parametrize(("old", "new"), [("doors", "ingress"), ("rps", "rhoconnect_push")])
def test_an_old_scenario_is_refused_with_a_list_that_holds_the_new_name(
    tmp_path: Path, old: str, new: str
) -> None:
    done = rhopush(tmp_path, "bench", old)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"invalid choice: {old!r}" in done.stderr
    assert new in done.stderr.partition("choose from")[2]
    assert old not in done.stderr.partition("choose from")[2]


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


@pytest.mark.parametrize("size", [10, 1_000_000])
def test_a_full_disk_is_reported(size: int) -> None:
    with Path("/dev/full").open("w") as full:
        done = printing(size, full.fileno())
    text = "rhopush: the output cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, text)
