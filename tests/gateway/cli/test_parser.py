"""Options between the positional arguments of a command."""

import argparse
import itertools

import pytest

from gateway.cli import bench, dead, devices, queue
from gateway.cli.parser import CommandParser

LISTS = {
    "users": (devices, (), ("explain", "bob"), "words"),
    "devices": (dead, ("restore",), ("a", "b"), "devices"),
    "records": (queue, ("unreadable", "requeue"), ("1-0", "2-0"), "records"),
}


@pytest.mark.parametrize("name", LISTS)
def test_an_option_may_stand_anywhere_in_a_list_of_arguments(name: str) -> None:
    module, first, words, field = LISTS[name]
    for option in (["--json"], ["--timeout", "3"]):
        for at in range(len(words) + 1):
            parser = CommandParser()
            module.add_arguments(parser)
            args = parser.parse_args([*first, *words[:at], *option, *words[at:]])
            assert getattr(args, field) == list(words)
            assert args.json or args.timeout == 3


def test_an_option_may_stand_between_scenarios() -> None:
    for words in itertools.permutations(("push", "fanout", "--runs=2")):
        parser = CommandParser()
        bench.add_arguments(parser)
        args = parser.parse_args(words)
        assert (sorted(args.scenarios), args.runs) == (["fanout", "push"], 2)


@pytest.mark.parametrize("words", [[], ["--json"], ["a", "--unknown"]])
def test_wrong_usage_is_refused_as_before(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    parser: argparse.ArgumentParser = CommandParser(prog="rhopush devices")
    devices.add_arguments(parser)
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(words)
    assert caught.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("usage: rhopush devices")
    assert "USER" in err
    assert ("the following arguments are required: USER" in err) is (words != ["a", "--unknown"])
