"""`GET /openapi.json`: the application's routes as an OpenAPI 3.1 document.

https://spec.openapis.org/oas/v3.1.1.html
"""

from __future__ import annotations

import inspect
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import attrs

from coe_core.application import Application
from coe_core.error import CoeError
from coe_core.http import HttpRequest, HttpResponse, HttpRoute, json_response
from coe_core.message import Json
from coe_core.parameter import Parameter
from coe_server.chat import CoeOptions
from coe_server.schema import Components, Schema, described, without_null
from coe_server.shape import AnyHeaders, ErrorBody, ErrorHeaders

KEY = "key"
"""The name of the security scheme."""


async def show(request: HttpRequest) -> HttpResponse:
    """Show the document."""
    return json_response(document(request.application))


def document(application: Application) -> Json:
    """Describe the routes of an application."""
    components = Components()
    components.replace(CoeOptions, "params", _params(components, application.parameters))
    codes = codes_by_status(CoeError)
    failures = {str(status): _failure(codes[status], components) for status in sorted(codes)}
    paths: dict[str, dict[str, Json]] = defaultdict(dict)
    for route in application.http_routes:
        if route.page:
            continue
        paths[route.path][route.method.lower()] = {
            **_operation(route, components),
            "security": _security(route, keys_exist=application.wants_keys),
            "responses": {
                **dict.fromkeys(_successes(route), _success(route, components)),
                **{status: {"$ref": f"#/components/responses/{status}"} for status in failures},
            },
        }
    return {
        "openapi": "3.1.1",
        "info": {"title": "CoE", "version": version("coe-core")},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": components.schemas,
            "responses": failures,
            "securitySchemes": {KEY: {"type": "http", "scheme": "bearer"}},
        },
    }


def codes_by_status(error: type[CoeError]) -> Mapping[int, set[str]]:
    """Collect the codes of an error and of all below it, by HTTP status."""
    codes: dict[int, set[str]] = defaultdict(set)
    for cls in _tree(error):
        codes[cls.status].add(cls.code)
    return codes


def _tree(error: type[CoeError]) -> Iterator[type[CoeError]]:
    yield error
    for below in error.__subclasses__():
        yield from _tree(below)


def _params(components: Components, parameters: Mapping[str, Parameter]) -> Schema:
    """Name the parameters that the installed plugins declare: there are no others."""
    return {
        "type": "object",
        "properties": {
            name: components.field(parameter.attribute)
            | described(parameter.settings, parameter.attribute)
            for name, parameter in parameters.items()
        },
        "additionalProperties": False,
    }


def _failure(codes: set[str], components: Components) -> Json:
    return {
        "description": f"Codes: {', '.join(sorted(codes))}.",
        "headers": _headers(ErrorHeaders, components),
        "content": {"application/json": {"schema": components.schema(ErrorBody)}},
    }


def _security(route: HttpRoute, *, keys_exist: bool) -> list[Json]:
    """While there are no keys, this machine's own user needs none."""
    if route.role is None:
        return []
    return [{KEY: []}] if keys_exist else [{KEY: []}, {}]


def _operation(route: HttpRoute, components: Components) -> dict[str, Json]:
    operation: dict[str, Json] = {
        "operationId": re.sub(r"\W+", "_", f"{route.method} {route.path}".lower()).strip("_"),
        "summary": route.summary,
        "description": inspect.getdoc(route.handler) or route.summary,
        "parameters": [
            *(
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                for name in re.findall(r"{(\w+)}", route.path)
            ),
            *({"in": "query", "name": n, **f} for n, f in _fields(route.query, components)),
            *(
                {"in": "header", "name": name.replace("_", "-"), **field}
                for name, field in _fields(route.headers, components)
            ),
        ],
    }
    if route.request is not None:
        content = {"application/json": {"schema": components.schema(route.request)}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _successes(route: HttpRoute) -> Sequence[str]:
    return ("200", "201") if route.creates else ("200",)


def _success(route: HttpRoute, components: Components) -> Json:
    headers = _headers(route.response_headers or AnyHeaders, components)
    description = "Done, whole or in server-sent events." if route.streams else "Done."
    success: dict[str, Json] = {"description": description, "headers": headers}
    if route.response is not None:
        schema = components.schema(route.response)
        success["content"] = {"application/json": {"schema": schema}}
        if route.streams:
            success["content"]["text/event-stream"] = {}
    return success


def _headers(cls: type[Any], components: Components) -> Json:
    return {name.replace("_", "-"): field for name, field in _fields(cls, components)}


def _fields(cls: type[Any] | None, components: Components) -> Iterator[tuple[str, Json]]:
    """Describe what is sent one by one; what is null is not sent."""
    if cls is None:
        return
    for attribute in attrs.fields(attrs.resolve_types(cls)):
        field = {
            **described(cls, attribute),
            "required": attribute.default is attrs.NOTHING,
            "schema": without_null(components.field(attribute)),
        }
        yield attribute.name, field
