"""A settings file means what it means to Ruby: Ruby itself is the judge."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import BadSetting
from gateway.settings.ruby_scalars import text_of
from gateway.settings.yaml_document import read
from tests.support.requirements import need_program

# Prints the first document of each file, scalars by `to_s`, keys without the colon of a symbol. Dates are left out:
# Ruby makes objects of them, and the gateway keeps the text.
_JUDGE = """
require 'yaml'
require 'json'
def plain(value)
  case value
  when Hash then value.to_h { |key, inner| [key == false ? 'off' : key.to_s.delete_prefix(':'), plain(inner)] }
  when Array then value.map { |inner| plain(inner) }
  when nil then nil
  else value.to_s
  end
end
answers = ARGV.map do |file|
  begin
    plain(YAML.unsafe_load_file(file))
  rescue StandardError => error
    { 'refused' => error.class.name }
  end
end
puts JSON.generate(answers)
"""

ACCEPTED = {
    "tab after a colon": ":a:\t:b\n:c:\tlocalhost:6379\n",
    "tab before a comment": ":a: 5\t# five\n:b: 'x'\t# text\n",
    "tab at a line's end": ":a: 5\t\n:b: text\t \t\n:c:\n  - x\t\n",
    "symbols": ":a: :user\n:b: :user_name\nc: ':quoted'\n:d: ::x\n:e: :'x y'\nf: :\"x\"\n",
    "anchors and merges": (
        ":base: &base\n  redis: one\n  port: 1\n:own:\n  <<: *base\n  port: 2\n:late:\n  port: 3\n  <<: *base\n"
        ":other: &other {port: 9, x: y}\n:both:\n  <<: [*base, *other]\n:list: &l [1, 2]\n:again: *l\n"
    ),
    "anchors that are given again": (
        "a: &x 1\nb: &x 2\nc: *x\nd: &y {e: &y 3, f: *y}\ng: *y\nh: [&x [1], *x, &x yes, *x]\ni:\n  &x j: *x\n"
    ),
    "anchors on symbols and keys": "a: &x :sym\n:b: *x\nc: &y\nd: *y\n&k e: *k\n*k : 5\n",
    "merges of merges": (
        "a: &a {k: 1, l: {x: 1, y: 2}}\nb: &b\n  <<: *a\n  m: 2\nc:\n  <<: *b\n  l: {x: 9}\n"
        "d:\n  '<<': *a\n  <<: *b\ne:\n  !!str <<: *a\nf:\n  <<: {a: 1}\n  <<: []\n  b: 2\n<<: *a\n"
    ),
    "a long symbol in quotes": f'a: :"{"x" * 80}"\nb: :{"y" * 80}\n',
    "tabs in other places": "a: &x\tb\nc: *x\t# d\ne:\n  - x\t\n  - y\t# z\nf: [1,\t2]\t# g\n",
    "merge of a text": "a:\n  <<: text\n  b: 1\n",
    "numbers": (
        "a: [0, 7, -3, +4, 010, 0x1F, 0b101, 1_000, '1,000', 1_0, 08, 1e5, 1.5, .5, 5., 1.5e+3, -0.0, 1.e-2]\n"
        "b: 1,000\nc: 1,000.5\nd: 12345678901234567890123\ne: 0o17\nf: +.inf\ng: .NaN\nh: 1__2\ni: 0_7\n"
        "j: '0x'\nk: -0x10\nl: 1_0.5_0\nm: 1.5e5\nn: 1.5e+25\no: 0,1\np: .\nq: -.5\n"
    ),
    "sexagesimal": "a: 10:30\nb: 1:30:15\nc: 190:20:30.15\nd: 10:61\ne: localhost:6379\nf: -1:30\n",
    "truth": "a: yes\nb: No\nc: on\nd: OFF\ne: y\nf: n\ng: TRUE\nh: ~\ni:\nj: Null\nk: nil\nl: 'true'\n",
    "texts": "a: p@ss word\nb: \"tab\\there\"\nc: |\n  two\n  lines\nd: >\n  one\n  line\ne: \"\"\nf: 'it''s'\n",
    "special characters": "a: $ecret\nb: \"%41\"\nc: a#b\nd: =\ne: '@x'\nf: a:b\ng: -x\nh: ?x\n",
    "keys": "1: one\n2.5: two\ntrue: three\n~: four\n'<<<': five\n",
    "doubled key": "a: 1\na: 2\n:a: 3\n",
    "two documents": "a: 1\n---\nb: 2\n",
    "marks of a document": "%YAML 1.1\n---\n# settings\na: 1\n...\n",
    "byte order mark": "\ufeff:a: 1\n",
    "tags": "a: !!str 5\nb: !!int '5'\nc: !ruby/symbol x\nd: !!float '1.5'\ne: !!str yes\n",
    "carriage returns": ":a: 1\r\n:b: two\r\n",
    "letters of the world": 'a: grüße\nb: "\\u00fc"\nключ: значение\n',
    "flow": ":a: {b: [1, 2,], c: {d: e}}\n:f: []\n:g: {}\n",
}
REFUSED = {
    "tab as indentation": ":a:\n\t:b: 1\n",
    "at sign": "a: @x\n",
    "open bracket": "a: [1\n",
    "open quote": "a: 'x\n",
    "unknown alias": "a: *b\n",
    "control character": "a: \x07\n",
    "not UTF-8": b"a: \xff\n",
}


def judged(files: list[Path]) -> list[Any]:
    done = subprocess.run(
        [need_program("ruby", "ruby"), "-e", _JUDGE, *map(str, files)], capture_output=True, check=True
    )
    return list(json.loads(done.stdout))


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return text_of(value)


def test_a_file_that_ruby_reads_means_the_same(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.yml" for number in range(len(ACCEPTED))]
    for file, text in zip(files, ACCEPTED.values(), strict=True):
        file.write_bytes(text.encode())
    expected = dict(zip(ACCEPTED, judged(files), strict=True))
    assert [name for name, value in expected.items() if "refused" in value] == []
    assert {name: plain(read(file).root) for name, file in zip(ACCEPTED, files, strict=True)} == expected


def test_a_file_that_ruby_refuses_is_refused(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.yml" for number in range(len(REFUSED))]
    for file, text in zip(files, REFUSED.values(), strict=True):
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    for name, file, expected in zip(REFUSED, files, judged(files), strict=True):
        assert expected.keys() == {"refused"}, name
        with pytest.raises(BadSetting) as refused:
            read(file)
        assert "not valid YAML" in refused.value.message, name
        assert "\n" not in refused.value.message


def test_symbols_within_braces_are_read_as_older_versions_of_ruby_read_them(tmp_path: Path) -> None:
    file = tmp_path / "settings.yml"
    file.write_text(
        ":sources:\n"
        "  Product: {:partition_type: :user, :push_notify: 'true'}\t# a tab\n"
        "  News: {:push_notify: ':not_one', list: [:a, \":b\", c: :d]}\n"
    )
    document = read(file)
    assert document.root["sources"] == {
        "Product": {"partition_type": "user", "push_notify": "true"},
        "News": {"push_notify": ":not_one", "list": ["a", ":b", {"c": "d"}]},
    }
    assert document.lines["sources", "News", "push_notify"] == 3


def test_a_file_in_utf_16_is_read(tmp_path: Path) -> None:
    file = tmp_path / "settings.yml"
    file.write_bytes(":a: grün\n".encode("utf-16"))
    assert read(file).root == {"a": "grün"}


@pytest.mark.parametrize(
    "text", ["a: !ruby/object:Foo {}", "a: !ruby/regexp x", "a: !!binary aGk=", "!!set {a}"]
)
def test_an_object_is_refused_by_its_tag(tmp_path: Path, text: str) -> None:
    file = tmp_path / "settings.yml"
    file.write_text(text)
    with pytest.raises(BadSetting, match="line 1: not valid YAML: unknown tag"):
        read(file)
