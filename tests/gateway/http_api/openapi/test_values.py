"""Parts of operations."""

from gateway.http_api.openapi.values import (
    answer,
    html_json_answer,
    json_answer,
    json_body,
    members,
    names,
    text_answer,
)


def test_a_body_may_be_json_or_a_form() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "object"}, "b": {"type": "string"}}}
    both = json_body(schema, {"a": 1})
    assert set(both["content"]) == {"application/json", "application/x-www-form-urlencoded"}
    assert both["required"] is True
    assert set(both["content"]["application/x-www-form-urlencoded"]["encoding"]) == {"a"}
    assert set(json_body(schema, {}, form=False, required=False)["content"]) == {"application/json"}


def test_an_object_of_a_response_has_its_members_unless_they_are_optional() -> None:
    schema = members({"a": {}, "b": {"type": "string"}}, optional=("a",))
    assert schema == {"type": "object", "required": ["b"], "properties": {"a": {}, "b": {"type": "string"}}}


def test_names_are_one_or_a_list() -> None:
    one, many = names(7)["oneOf"]
    assert one == many["items"] == {"type": "string", "maxLength": 7}


def test_responses_have_a_schema_and_an_example() -> None:
    assert json_answer({}, {"a": 1}, "A", {"H": {}})["headers"] == {"H": {}}
    assert "headers" not in json_answer({}, {"a": 1}, "A")
    inside = html_json_answer({"type": "array"}, "[]", "A")["content"]["text/html"]["schema"]
    assert inside["contentSchema"] == {"type": "array"}
    text = text_answer("a", "A")
    assert answer(text, summary="S") == {"summary": "S", "responses": {"200": text}}
