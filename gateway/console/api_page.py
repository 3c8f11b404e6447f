"""The OpenAPI document as a page."""

from collections.abc import Callable, Mapping
from typing import Any

import orjson
from aiohttp import web

from gateway.console.guard import Visit
from gateway.console.page_set import PageSet
from gateway.console.pages import Pages
from gateway.http_api.context import HandlerContext


class ApiPage(PageSet):
    """The route of the page.

    Args:
        context: the state shared by the routes.
        pages: renders it.
        document: returns the OpenAPI document.
    """

    def __init__(
        self, context: HandlerContext, pages: Pages, document: Callable[[], Mapping[str, Any]]
    ) -> None:
        super().__init__(context, pages)
        self._document = document
        self._operations: list[dict[str, Any]] | None = None

    async def show(self, _: web.Request, visit: Visit) -> web.Response:
        """Return the page."""
        if self._operations is None:
            self._operations = operations(self._document())
        return await self.page("api.html", visit, operations=self._operations)


def operations(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return each operation of a document with its parameters, bodies and responses, in the document's order."""
    found = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if not isinstance(operation, Mapping) or "responses" not in operation:
                continue
            found.append(
                {
                    "method": method.upper(),
                    "path": path,
                    "anchor": f"{method}{path}".replace("/", "-").translate(_ANCHOR),
                    "summary": operation.get("summary", ""),
                    "description": operation.get("description", ""),
                    "parameters": [_parameter(one, document) for one in operation.get("parameters", ())],
                    "bodies": _bodies(_resolved(operation.get("requestBody", {}), document), document),
                    "responses": [
                        _response(status, _resolved(answer, document), document)
                        for status, answer in operation["responses"].items()
                    ],
                }
            )
    return found


_ANCHOR = str.maketrans({"{": "", "}": "", "%": ""})


def _parameter(parameter: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, Any]:
    given = _resolved(parameter, document)
    schema = _resolved(given.get("schema", {}), document)
    return {
        "name": given.get("name", ""),
        "place": given.get("in", ""),
        "required": given.get("required", False),
        "description": given.get("description", schema.get("description", "")),
        "schema": schema.get("type", ""),
    }


def _bodies(part: Mapping[str, Any], document: Mapping[str, Any]) -> list[dict[str, str]]:
    return [
        {"type": kind, "schema": _text(_resolved(content.get("schema", {}), document))}
        for kind, content in part.get("content", {}).items()
    ]


def _response(status: str, answer: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "status": status,
        "description": answer.get("description", ""),
        "bodies": _bodies(answer, document),
    }


def _resolved(part: Mapping[str, Any], document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the target of a reference, or the part itself."""
    reference = part.get("$ref")
    if not isinstance(reference, str) or not reference.startswith("#/"):
        return part
    target: Any = document
    for name in reference.removeprefix("#/").split("/"):
        target = target[name]
    return target if isinstance(target, Mapping) else {}


def _text(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
