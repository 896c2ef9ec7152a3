"""Errors as RFC 9457 problem details. They never repeat what the client sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, Protocol, cast

import msgspec
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shared.outages import OUTAGES, can_pass
from shared.refusals import FieldError, Refusal, invalid

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_SECONDS: Final = 2
_TYPE_PREFIX: Final = "urn:problem-type:milleplumes:"


class Problem(HTTPException):
    """Answer the request with this problem.

    `code` is the last part of the problem's type, a kebab-case word; `detail` is a sentence for people and `members`
    are extension members. None of them may hold anything that the client sent.
    """

    def __init__(
        self,
        status: int,
        code: str | None = None,
        *,
        detail: str | None = None,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        phrase = HTTPStatus(status).phrase
        super().__init__(status, detail or phrase, dict(headers or {}))
        self.code = code or phrase.lower().replace(" ", "-")
        self.errors = tuple(errors)
        self.members = dict(members or {})
        if status in (429, 503):
            self.headers = {"Retry-After": str(RETRY_AFTER_SECONDS), **(self.headers or {})}

    def body(self) -> bytes:
        """Return the problem as JSON."""
        document: dict[str, Any] = {
            "type": _TYPE_PREFIX + self.code,
            "title": HTTPStatus(self.status_code).phrase,
            "status": self.status_code,
            "detail": self.detail,
        }
        if self.errors:
            document["errors"] = self.errors
        return msgspec.json.encode({**document, **self.members})

    def response(self) -> Response:
        """Return the problem as a response."""
        return Response(self.body(), self.status_code, self.headers, MEDIA_TYPE)


class ProblemPages(Protocol):
    """The pages of a service: the routes of their static files, and its problems as pages."""

    @property
    def routes(self) -> list[Route]: ...
    def show_problem(self, request: Request, problem: Problem) -> Response: ...


def problem_response(request: Request, problem: Problem) -> Response:
    """Return `problem` as the client reads it: a page for a browser, if the service has pages, else JSON.

    A browser asks for HTML. The addresses under `/v1/` are for programs: only the forms sent there get a page.
    """
    pages: ProblemPages | None = request.app.state.pages
    wants_page = "text/html" in request.headers.get("accept", "")
    if pages is None or not wants_page or (request.method == "GET" and request.url.path.startswith("/v1/")):
        return problem.response()
    return pages.show_problem(request, problem)


def unavailable(detail: str = "Not available at the moment. It is safe to send this again.") -> Problem:
    """Return a 503: nothing is known to be stored, and repeating is safe."""
    return Problem(503, detail=detail)


def problem_from(refusal: Refusal) -> Problem:
    """Return `refusal` as a problem."""
    return Problem(refusal.status, refusal.code, detail=refusal.detail, errors=refusal.errors, members=refusal.members)


def add_problem_handlers(app: FastAPI, pages: ProblemPages | None = None) -> None:
    """Answer every error of `app`, including those of its framework, with a problem: as JSON, or as one of `pages`."""
    app.state.pages = pages
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Refusal, _refusal)
    app.add_exception_handler(RequestValidationError, _validation_error)
    for error_type in OUTAGES:
        app.add_exception_handler(error_type, _outage)


async def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, Problem):
        error = cast("HTTPException", error)
        error = Problem(error.status_code, headers=error.headers)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and "route" in request.scope:
        error.headers = {"Allow": _allowed_methods(request)}
    return problem_response(request, error)


def _allowed_methods(request: Request) -> str:
    """Return the methods of all routes of the request's path (RFC 9110, section 10.2.1): each has one method."""
    routes, path = iter_route_contexts(request.app.routes), request.scope["route"].path
    methods = {method for route in routes if route.path == path for method in route.methods or ()}
    return ", ".join(sorted(methods | {"HEAD"} if "GET" in methods else methods))


async def _refusal(request: Request, error: Exception) -> Response:
    return problem_response(request, problem_from(cast("Refusal", error)))


async def _validation_error(request: Request, exception: Exception) -> Response:
    errors = []
    for error in cast("RequestValidationError", exception).errors():
        if error["type"] == "json_invalid":
            return problem_response(request, Problem(400, "not-json", detail="The body is not JSON."))
        path = [str(part) for part in error["loc"][1:]]
        pointer = "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in path)
        errors.append(FieldError(pointer, f"{path[-1] if path else 'body'}.{error['type']}"))
    return problem_response(request, problem_from(invalid(errors)))


async def _outage(request: Request, error: Exception) -> Response:
    if not can_pass(error):
        raise error  # a 500, with its traceback in the log
    return problem_response(request, unavailable())
