"""Templates: the filters, the macro of tables, automatic escaping, and values that are missing."""

import re

import pytest
from jinja2 import UndefinedError

from gateway.console.rendering import (
    Renderer,
    duration,
    instant,
    is_about,
    number,
    rate,
    size,
    timestamp,
)
from protocols.errors import InvalidField

XSS = "<script>alert(1)</script>"
GLOBALS = {
    "asset": lambda name: f"/static/{name}",
    "version": "1",
    "navigation": lambda _: (),
    "notice": "",
    "error": None,
}


def test_instants_sizes_and_durations_are_readable_texts() -> None:
    assert instant(1_700_000_000_000) == "2023-11-14 22:13:20 UTC"
    assert [instant(value) for value in (None, 0, -1, 1e18)] == ["", "", "", ""]
    assert [size(value) for value in (10, 2048, 5 * 2**20, 3 * 2**30)] == [
        "10 B",
        "2 KiB",
        "5 MiB",
        "3.0 GiB",
    ]
    assert [duration(value) for value in (5, 600, 7200, 86_400 * 9)] == ["5 s", "10 min", "2 h", "9 d"]
    assert duration(float("inf")) == ""
    assert number(1234567) == "1,234,567"
    assert [rate(value) for value in (0, 2.44, 7.0, 123.4)] == ["0", "2.4", "7", "123"]


def test_times_of_the_api_have_the_form_of_instants() -> None:
    texts = ("2030-01-31T09:30:00Z", "2030-01-31T09:30:00.250Z", "2030-01-31T10:30:00+01:00")
    assert {timestamp(text) for text in texts} == {"2030-01-31 09:30:00 UTC"}
    assert [timestamp(text) for text in (None, "", "yesterday", "2030-01-31T09:30:00")] == [
        "",
        "",
        "yesterday",
        "2030-01-31T09:30:00",
    ]


def test_an_error_is_about_its_field_and_the_field_that_contains_it() -> None:
    assert is_about(InvalidField("", field="badge"), ["title", "badge"])
    assert is_about(InvalidField("", field="to.tokens[2]"), ["to.tokens"])
    assert is_about(InvalidField("", field="to.tokens.app"), ["to.tokens"])
    assert not is_about(InvalidField("", field="to.tokens"), ["t", "to.token"])
    assert not any(is_about(error, ["badge"]) for error in (None, "badge", InvalidField("")))


def test_values_are_escaped() -> None:
    text = Renderer(GLOBALS).render("error.html", {"text": XSS, "code": 503, "visit": None})
    assert XSS not in text
    assert "&lt;script&gt;" in text


def test_a_missing_value_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="text"):
        Renderer(GLOBALS).render("error.html", {"code": 503, "visit": None})


def test_a_table_has_headings_rows_and_a_text_in_their_place() -> None:
    made = Renderer(GLOBALS)._environment.from_string(
        '{% from "table.html" import table %}'
        "{% call(one) table(name, ['A', 'B'], rows, empty, numbers=('B',), id='x') %}"
        "<tr><td>{{ one }}</td></tr>{% endcall %}"
    )
    text = made.render(name=XSS, rows=[XSS, 2], empty="None")
    assert XSS not in text
    assert re.findall(r'<th scope="col"[^<]*', text) == [
        '<th scope="col">A',
        '<th scope="col" class="text-end">B',
    ]
    assert text.count("<tr>") == 3
    assert '<td colspan="2">&lt;script' in made.render(name="", rows=[], empty=XSS)
