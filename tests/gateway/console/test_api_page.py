"""The OpenAPI document as a page."""

from gateway.console.api_page import operations
from gateway.http_api.context import HandlerContext
from gateway.http_api.routes import openapi_document
from tests.gateway.console.harness import Console

DOCUMENT = {
    "components": {
        "schemas": {"Thing": {"type": "object"}},
        "parameters": {"P": {"name": "p", "in": "query"}},
    },
    "paths": {
        "/a/{id}": {
            "parameters": [],
            "post": {
                "summary": "<b>make</b>",
                "parameters": [{"$ref": "#/components/parameters/P"}],
                "requestBody": {
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}
                },
                "responses": {"200": {"description": "done"}},
            },
        }
    },
}


def test_references_are_resolved() -> None:
    (found,) = operations(DOCUMENT)
    assert (found["method"], found["path"], found["anchor"]) == ("POST", "/a/{id}", "post-a-id")
    assert found["parameters"][0]["name"] == "p"
    assert '"object"' in found["bodies"][0]["schema"]
    assert found["responses"] == [{"status": "200", "description": "done", "bodies": []}]


async def test_the_page_has_every_operation(console: Console) -> None:
    async with console.operator() as browser:
        _, text = await browser.get("/console/api")
    document = openapi_document(HandlerContext(console.api.services))
    found = operations(document)
    assert len(found) > 20
    anchors = [one["anchor"] for one in found]
    assert len(set(anchors)) == len(anchors)
    for one in found:
        assert f'id="{one["anchor"]}"' in text


async def test_the_console_is_not_part_of_the_api(console: Console) -> None:
    assert not any(
        path.startswith("/console")
        for path in openapi_document(HandlerContext(console.api.services))["paths"]
    )
