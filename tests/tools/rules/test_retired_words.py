"""Retired names are not used again."""

from pathlib import Path

import pytest
from rules.retired_words import LIST, parts_of, read_list, retired_words
from rules.source import documents, sources

from tests.tools.rules.conftest import Tree

WORDS = read_list(
    """
[parts]
door = "ingress"
rps = {use = "rhoconnect_push", allowed = [
    {names = ["rps_login"], reason = "a route"},
    {paths = ["gateway/cli/*"], reason = "a command"},
    {paths = ["docs/*"], names = ["rps_file"], reason = "a file"},
]}
[names]
told = "on_reply"
[classes]
Send = "Delivery"
[modules]
people = "users"
[label_values]
rest = "http"
[events]
store_down = "redis_unavailable"
"""
)
WORKER, METRICS = "gateway/worker.py", "gateway/metrics.py"


def found(root: Path) -> list[str]:
    return [str(breach) for breach in retired_words(WORDS, sources(root), documents(root))]


def test_names_have_parts() -> None:
    assert parts_of("_front_door2Ear") == ("front", "door", "ear")
    assert parts_of("HTTPDoorURL") == ("http", "door", "url")
    assert parts_of("RPS_DOOR") == ("rps", "door")
    assert parts_of("Propagated") == ("propagated",)


def test_a_tree_without_a_retired_word_has_no_breach(tree: Tree) -> None:
    assert found(tree()) == []


@pytest.mark.parametrize(
    "code",
    [
        "door = 1",
        "one.door_name = 1",
        "def f(door): ...",
        "def open_door(): ...",
        "class FrontDoor: ...",
        "f(door=1)",
        "x = f'{door}'",
        "import doors.door",
        "from a import b as door",
        "for _DOOR in (): ...",
        "try: ...\nexcept E as door: ...",
        "match x:\n    case [door, *rest]: ...",
        "match x:\n    case {**door}: ...",
        "x = 'RHOPUSH_RPS_PORT'",
        "x = 'rhopush_rps_connections'",
        "told = 1",
        "self._told = 1",
        "TOLD = 1",
        "class Send: ...",
        "class _Send: ...",
        "metrics.pings('rest')",
        "self._metrics.pings_accepted('rest').inc()",
        "log.info('store_down')",
        "log.info('door_opened')",
    ],
)
def test_a_retired_word_in_code_is_found(code: str, tree: Tree) -> None:
    breaches = found(tree(("gateway/other.py", "", code + "\n")))
    assert breaches
    assert all(
        breach.startswith("gateway/other.py:") and " is retired, use " in breach for breach in breaches
    )


@pytest.mark.parametrize(
    "code",
    [
        "'''The door is told.'''",
        "x = 'door'  # the door",
        "indoors = told_twice = 1",
        "def send(): ...",
        "x = 'rest'",
        "rps_login = 1",
        "x = 'RHOPUSH_DOOR is set'",
    ],
)
def test_prose_and_other_names_are_free(code: str, tree: Tree) -> None:
    assert found(tree(("gateway/other.py", "", code + "\n"))) == []


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (("gateway/people.py", "", ""), "gateway/people.py:1: people"),
        (("gateway/door/a.py", "", ""), "gateway/door/a.py:1: door"),
        ((METRICS, '"ingress"', '"door"'), f"{METRICS}:3: door"),
        ((METRICS, '"pings"', '"door_pings"'), f"{METRICS}:3: rhopush_door_pings_total"),
        (("tests/a.py", "", "door = 1\n"), "tests/a.py:1: door"),
        (("docs/a.md", "", "Set `queue.door`.\n"), "docs/a.md:1: door"),
        (("docs/a.md", "", "The event `store_down`.\n"), "docs/a.md:1: store_down"),
        (("docs/a.md", "", "```yaml\nrps: {mode: client}\n```\n"), "docs/a.md:2: rps"),
        (("docs/a.md", "", "```sh\nRHOPUSH_RPS_PORT=1\n```\n"), "docs/a.md:2: RHOPUSH_RPS_PORT"),
        (("README.md", "", "`told`\n"), "README.md:1: told"),
        (("deploy/a.yml", "", "RHOPUSH_RPS_PORT: 1\n"), "deploy/a.yml:1: RHOPUSH_RPS_PORT"),
        (("deploy/a.json", "", '"rate(rhopush_rps_total[5m])"\n'), "deploy/a.json:1: rhopush_rps_total"),
    ],
)
def test_a_retired_word_elsewhere_is_found(change: tuple[str, str, str], where: str, tree: Tree) -> None:
    assert any(breach.startswith(where) for breach in found(tree(change)))


@pytest.mark.parametrize(
    ("file", "text", "kept"),
    [
        ("gateway/cli/a.py", "rps = 1\n", True),
        ("gateway/a.py", "rps = 1\n", False),
        ("gateway/a.py", "rps_login = 1\n", True),
        ("docs/a.md", "`rps_file`\n", True),
        ("docs/a.md", "`rps_port`\n", False),
        ("README.md", "`rps_file`\n", False),
        ("docs/a.md", "A door told.\n```sh\nserve  # the door\n```\n", True),
        ("docs/a.md", "`rhopush rps`, `rhopush:rps:wake`, `--rps`\n", True),
        ("docs/a.md", "`rps`\n", False),
        ("deploy/a.yml", "unit: the door # told\n", True),
        ("tests/a.py", "told = 1\n", True),
        ("tests/a.py", "def test_the_door() -> None: ...\n", True),
        ("gateway/a.py", "def test_the_door() -> None: ...\n", False),
    ],
)
def test_exemptions(file: str, text: str, kept: bool, tree: Tree) -> None:
    assert (found(tree((file, "", text))) == []) is kept


def test_no_retired_event_is_one_that_is_to_be_used() -> None:
    words = read_list(LIST.read_text())
    assert not {word.use for word in words.events.values()} & set(words.events)
