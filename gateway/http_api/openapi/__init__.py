"""The OpenAPI 3.1 description of the HTTP API, generated from the table of routes."""

from gateway.http_api.openapi.document import DescribedRoute, describe

__all__ = ["DescribedRoute", "describe"]
