"""Settings files that expand to a large size are refused by name, without delay."""

import os
import threading
from pathlib import Path

import pytest

from gateway.errors import BadSetting
from gateway.settings.yaml_document import FILE_BYTES, VALUES_MAX, read


def laughs(first: str, each: str, levels: int = 9, width: int = 10) -> str:
    """Aliases of aliases: `width` ** `levels` values in a few hundred bytes."""
    below = [", ".join([f"*l{level}"] * width) for level in range(levels)]
    lines = [each.format(level=level + 1, below=aliases) for level, aliases in enumerate(below)]
    return "\n".join([f"l0: &l0 {first}", *lines])


BOMBS = {
    "lists": (laughs("[lol]", "l{level}: &l{level} [{below}]"), "after expansion of its aliases"),
    "mappings": (
        laughs("{a: b}", "l{level}: &l{level} {{a: [{below}], b: [{below}]}}"),
        "after expansion of its aliases",
    ),
    "merges": (
        laughs("{a: b, c: d}", "l{level}: &l{level} {{<<: [{below}], k{level}: v}}"),
        "after expansion of its aliases",
    ),
    "empty merges": (
        laughs("{}", "l{level}: &l{level} {{<<: [{below}]}}"),
        "after expansion of its aliases",
    ),
    "one wide merge": (
        "a: &a {" + ", ".join(f"k{number}: v" for number in range(2_000)) + "}\n"
        "b: {<<: [" + ", ".join(["*a"] * 2_000) + "]}",
        "after expansion of its aliases",
    ),
    "an alias to itself": ("a: &a [*a, *a]", "nested too deeply"),
    "a mapping with itself": ("a: &a {b: *a}", "nested too deeply"),
    "a merge of itself": ("a: &a {<<: *a}", "nested too deeply"),
    "an alias as a key": (
        laughs("[lol]", "l{level}: &l{level} [{below}]") + "\n? *l9\n: value",
        "after expansion of its aliases",
    ),
    "a list as a key": ("? [a, b]\n: value", "a key must be a text"),
    "many brackets": ("a: " + "[" * 100_000, "nest"),
    "many braces": ("a: " + "{a: " * 100_000, "nest"),
    "many dashes": ("- " * 50_000, "nest"),
    "many values": ("a:\n" + "- x\n" * (VALUES_MAX + 1), "after expansion of its aliases"),
    "a long file": ("#" * (FILE_BYTES + 1), "exceeds"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_by_name(tmp_path: Path, name: str) -> None:
    text, says = BOMBS[name]
    file = tmp_path / "settings.yml"
    file.write_text(text)
    with pytest.raises(BadSetting, match=says) as refused:
        read(file)
    assert str(file) in refused.value.message
    assert len(refused.value.message) < 400


@pytest.mark.parametrize("text", ["1" + ":1" * 200_000, "1" + ":1" * 200_000 + ".5", "9" * 500_000])
def test_a_number_without_end_is_a_text(tmp_path: Path, text: str) -> None:
    file = tmp_path / "settings.yml"
    file.write_text(f"a: {text}\n")
    assert read(file).root == {"a": text}


def test_aliases_and_merges_as_people_write_them(tmp_path: Path) -> None:
    file = tmp_path / "settings.yml"
    file.write_text(
        "defaults: &defaults {:redis: localhost, :api_token: secret}\n"
        ":development: {<<: *defaults, :redis: other}\n"
        ":production:\n  <<: [*defaults]\n  list: &list [a, b]\n  again: *list\n"
    )
    root = read(file).root
    assert root["development"] == {"redis": "other", "api_token": "secret"}
    assert root["production"] == {
        "redis": "localhost",
        "api_token": "secret",
        "list": ["a", "b"],
        "again": ["a", "b"],
    }


def test_a_file_with_a_thousand_apps_is_read(tmp_path: Path) -> None:
    file = tmp_path / "settings.yml"
    app = "{apns: {certificate_file: a.pem, certificate_passphrase: b}, fcm: {project_id: c}}"
    file.write_text("apps:\n" + "".join(f"  com.example.store{number}: {app}\n" for number in range(1_000)))
    assert len(read(file).root["apps"]) == 1_000


def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("a: b",))
    writer.start()
    assert read(pipe).root == {"a": "b"}
    writer.join()
