"""`/docs`: the OpenAPI document as a plain page of our own, without third-party resources."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

STYLE_PATH: Final = "/docs/style.css"
_POLICY: Final = "default-src 'none'; style-src 'self'; frame-ancestors 'none'"
_STYLE: Final = """
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
body { margin-inline: auto; max-inline-size: 48rem; padding: 1.5rem; }
article { border-block-start: 1px solid; padding-block: 1rem; }
h2 { font-size: 1rem; margin: 0; }
code, pre { font-family: ui-monospace, monospace; }
dt { font-weight: 600; }
dd { margin-inline-start: 1.5rem; }
"""


def docs_router() -> APIRouter:
    """Return the routes of the page and its style sheet."""
    router = APIRouter(include_in_schema=False)

    @router.get("/docs")
    async def page(request: Request) -> HTMLResponse:
        headers = {"Content-Security-Policy": _POLICY}
        return HTMLResponse("".join(_render_page(request.app.openapi())), headers=headers)

    @router.get(STYLE_PATH)
    async def style() -> Response:
        return Response(_STYLE, media_type="text/css", headers={"Cache-Control": "max-age=3600"})

    return router


def _render_page(document: dict[str, Any]) -> Iterator[str]:
    title = escape(document["info"]["title"])
    yield f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    yield f'<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="{STYLE_PATH}"></head>'
    yield f"<body><h1>{title}</h1><p>{escape(document['info'].get('description', ''))}</p>"
    yield '<p><a href="/openapi.json">openapi.json</a> · <a href="/asyncapi.json">asyncapi.json</a></p>'
    for path, operations in document.get("paths", {}).items():
        for method, operation in operations.items():
            yield from _render_operation(path, method, operation)
    yield "</body></html>"


def _render_operation(path: str, method: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"<article><h2><code>{escape(method.upper())} {escape(path)}</code></h2>"
    yield f"<p>{escape(operation.get('description') or operation.get('summary', ''))}</p><dl>"
    for parameter in operation.get("parameters", ()):
        yield f"<dt><code>{escape(parameter['name'])}</code> ({escape(parameter['in'])})</dt>"
        yield f"<dd>{escape(parameter.get('description', ''))}</dd>"
    for media_type in operation.get("requestBody", {}).get("content", {}):
        yield f"<dt>Body</dt><dd><code>{escape(media_type)}</code></dd>"
    for status, response in operation.get("responses", {}).items():
        yield f"<dt>{escape(status)}</dt><dd>{escape(response.get('description', ''))}</dd>"
    yield "</dl></article>"
